// Package store keeps events, runs and messages in a database and makes sure that somebody works on them. It implements
// remediation's Intake, Runs and Outbox on SQLite and on PostgreSQL, with one SQL text, and it alone knows River.
//
// The rows are the truth. What is to be done reaches a Worker by three roads, any of which may be lost or repeated: at once in this
// process after each commit, by a River job written in the same transaction, and by a sweep every second for what is overdue.
package store
