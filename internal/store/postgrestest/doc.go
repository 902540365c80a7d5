// Package postgrestest runs real PostgreSQL servers for tests, from the binaries of the Debian package. It imports nothing of ours, so
// that the tests of any floor may use it.
//
// A server listens on a unix socket in its own directory alone, so that no port can be taken, and it dies with the process that
// started it, however that one ends.
package postgrestest
