package store

import (
	"context"
	"log/slog"
)

// quietly passes on errors alone: River tells of every start and election at level info, and of each
// failed job, which is logged here already.
type quietly struct{ slog.Handler }

func quiet(log *slog.Logger) *slog.Logger { return slog.New(quietly{log.Handler()}) }

func (q quietly) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelError && q.Handler.Enabled(ctx, level)
}

func (q quietly) WithAttrs(attrs []slog.Attr) slog.Handler {
	return quietly{q.Handler.WithAttrs(attrs)}
}

func (q quietly) WithGroup(name string) slog.Handler { return quietly{q.Handler.WithGroup(name)} }
