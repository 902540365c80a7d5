//go:build race

package main

// The race detector makes the database many times slower, so that under it worlds run slower and fewer of them at once.
const (
	worldSpeed = 60
	sideBySide = 4
	mostMemory = 512 << 20 // it keeps several bytes for each of ours
	raced      = true
)
