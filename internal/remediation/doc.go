// Package remediation is the heart: what becomes of one accepted event. It declares the words that are stored (Event, Run, Step,
// Message), the interfaces it needs (Intake, Runs, Outbox are implemented by the floor above), and the Engine, whose methods Accept,
// Match, Advance and Sweep are synchronous: they start no goroutine and take time and ids from what they are given.
package remediation
