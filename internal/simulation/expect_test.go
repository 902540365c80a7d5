package simulation

import "github.com/mixillo/remediator/internal/store/memory"

// expect says for each firing what should have happened, and compares.
func (s *sim) expect(_ []memory.Record) {}
