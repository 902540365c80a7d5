//go:build !race

package main

// worldSpeed is how much faster than real the worlds of most tests run, the demo's; sideBySide is how many tests run at
// once; mostMemory is what a flooded server may hold, in bytes.
const (
	worldSpeed = 120
	sideBySide = 6
	mostMemory = 256 << 20
	raced      = false
)
