package store_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
)

func (f *forger) ways() map[string]func() []statement {
	return map[string]func() []statement{
		"journal: a byte of a text":          f.changeEntryText,
		"journal: a number":                  f.changeEntryNumber,
		"journal: an entry of another run":   f.moveEntry,
		"journal: an entry dropped":          f.dropEntry,
		"journal: the end cut off":           f.cutJournal,
		"journal: two texts swapped":         f.swapTexts,
		"journal: two entries swapped":       f.swapEntries,
		"journal: an entry again":            f.repeatEntry,
		"journal: an entry added":            f.addEntry,
		"journal: rewritten":                 func() []statement { run := f.run(); return f.rewrite(&run) },
		"journal: of no run":                 f.strayEntry,
		"journal and head: rewritten":        f.rewriteWithHead,
		"journal, head and chain: rewritten": f.rewriteAll,
		"run: a byte of its head":            f.changeHead,
		"run: its count":                     f.changeCount,
		"run: dropped":                       func() []statement { return []statement{drop("runs", "id", f.run().ID)} },
		"run: dropped with its journal":      func() []statement { return f.erase(f.run().ID) },
		"run: passed off as old":             f.passOff,
		"run: said to go on":                 f.revive,
		"chain: a byte of a text":            f.changeLinkText,
		"chain: a number":                    f.changeLinkNumber,
		"chain: a link dropped":              f.dropLink,
		"chain: the end cut off":             f.cutChain,
		"chain: two links swapped":           f.swapLinks,
		"chain: a link added":                f.addLink,
		"chain: the last hashed anew":        f.rehashLast,
		"chain: rewritten":                   f.rewriteChain,
		"chain: said to be pruned":           f.markPruned,
	}
}

func drop(table, column string, value any) statement {
	return statement{"DELETE FROM " + table + " WHERE " + column + " = $1", []any{value}}
}

func (f *forger) run() remediation.Run { return f.runs[f.IntN(len(f.runs))] }

// any is one of the runs, or the one that goes on.
func (f *forger) any() remediation.Run {
	if f.IntN(len(f.runs)+1) == 0 {
		return f.open
	}
	return f.run()
}

func (f *forger) entry(of remediation.Run) remediation.Entry {
	book := f.books[of.ID]
	return book[f.IntN(len(book))]
}

// flip changes one byte of a text.
func (f *forger) flip(text string) string {
	if text == "" {
		return "x"
	}
	b := []byte(text)
	i := f.IntN(len(b))
	b[i] ^= byte(1 + f.IntN(255))
	return string(b)
}

// off is a number that is not 0.
func (f *forger) off() int64 { return int64(1+f.IntN(1000)) * int64(1-2*f.IntN(2)) }

func (f *forger) changeEntryText() []statement {
	e := f.entry(f.any())
	column := []string{"kind", "text", "prev", "hash"}[f.IntN(4)]
	old := map[string]string{"kind": e.Kind, "text": e.Text, "prev": e.Prev, "hash": e.Hash}[column]
	return []statement{{"UPDATE journal SET " + column + " = $1 WHERE run = $2 AND seq = $3", []any{f.flip(old), e.Run, e.Seq}}}
}

func (f *forger) changeEntryNumber() []statement {
	e := f.entry(f.any())
	if f.IntN(2) == 0 {
		return []statement{{"UPDATE journal SET seq = $1 WHERE run = $2 AND seq = $3", []any{e.Seq + 1000 + f.IntN(1000), e.Run, e.Seq}}}
	}
	return []statement{{"UPDATE journal SET at = at + $1 WHERE run = $2 AND seq = $3", []any{f.off(), e.Run, e.Seq}}}
}

func (f *forger) moveEntry() []statement {
	e := f.entry(f.run())
	to := f.open.ID // which is shorter: the place is free, or made free
	if e.Seq < len(f.books[to]) {
		return []statement{
			{"DELETE FROM journal WHERE run = $1 AND seq = $2", []any{to, e.Seq}},
			{"UPDATE journal SET run = $1 WHERE run = $2 AND seq = $3", []any{to, e.Run, e.Seq}},
		}
	}
	return []statement{{"UPDATE journal SET run = $1 WHERE run = $2 AND seq = $3", []any{to, e.Run, e.Seq}}}
}

func (f *forger) dropEntry() []statement {
	e := f.entry(f.any())
	return []statement{{"DELETE FROM journal WHERE run = $1 AND seq = $2", []any{e.Run, e.Seq}}}
}

func (f *forger) cutJournal() []statement {
	run := f.any()
	return []statement{{"DELETE FROM journal WHERE run = $1 AND seq >= $2", []any{run.ID, f.IntN(len(f.books[run.ID]))}}}
}

func (f *forger) swapTexts() []statement {
	a, b := f.pair(f.run())
	set := "UPDATE journal SET text = $1 WHERE run = $2 AND seq = $3"
	return []statement{{set, []any{b.Text, a.Run, a.Seq}}, {set, []any{a.Text, b.Run, b.Seq}}}
}

func (f *forger) pair(of remediation.Run) (a, b remediation.Entry) {
	book := f.books[of.ID]
	places := f.Perm(len(book))
	return book[places[0]], book[places[1]]
}

func (f *forger) swapEntries() []statement {
	a, b := f.pair(f.run())
	set := "UPDATE journal SET seq = $1 WHERE run = $2 AND seq = $3"
	return []statement{{set, []any{-1, a.Run, a.Seq}}, {set, []any{a.Seq, b.Run, b.Seq}}, {set, []any{b.Seq, a.Run, -1}}}
}

func insertEntry(e remediation.Entry) statement {
	return statement{"INSERT INTO journal (run, seq, at, kind, text, prev, hash) VALUES ($1, $2, $3, $4, $5, $6, $7)",
		[]any{e.Run, e.Seq, e.At.UnixMicro(), e.Kind, e.Text, e.Prev, e.Hash}}
}

func (f *forger) repeatEntry() []statement {
	e := f.entry(f.any())
	e.Seq = len(f.books[e.Run]) + f.IntN(2)
	return []statement{insertEntry(e)}
}

func (f *forger) addEntry() []statement {
	run := f.any()
	e := remediation.Entry{Run: run.ID, Seq: run.Entries, At: f.now, Kind: remediation.EntrySample, Text: fmt.Sprint(f.Uint64()), Prev: run.Head}
	e.Hash = e.Digest()
	return []statement{insertEntry(e)}
}

func (f *forger) strayEntry() []statement {
	e := remediation.Entry{Run: []string{"", "nobody", "~"}[f.IntN(3)], At: f.now, Kind: remediation.EntryIntent, Text: "t"}
	e.Hash = e.Digest()
	return []statement{insertEntry(e)}
}

// rewrite changes an entry of a journal and hashes it and all later ones anew.
func (f *forger) rewrite(run *remediation.Run) []statement {
	book := slices.Clone(f.books[run.ID])
	var out []statement
	for i := f.IntN(len(book)); i < len(book); i++ {
		if len(out) == 0 {
			book[i].Text += fmt.Sprint(f.Uint64())
		}
		if i > 0 {
			book[i].Prev = book[i-1].Hash
		}
		book[i].Hash = book[i].Digest()
		out = append(out, statement{"UPDATE journal SET text = $1, prev = $2, hash = $3 WHERE run = $4 AND seq = $5",
			[]any{book[i].Text, book[i].Prev, book[i].Hash, run.ID, i}})
		run.Head = book[i].Hash
	}
	return out
}

func save(run remediation.Run) statement {
	data, err := json.Marshal(run)
	if err != nil {
		panic(err)
	}
	return statement{"UPDATE runs SET data = $1 WHERE id = $2", []any{string(data), run.ID}}
}

func (f *forger) rewriteWithHead() []statement {
	run := f.run()
	out := f.rewrite(&run)
	return append(out, save(run))
}

// rewriteAll leaves records that hold by themselves.
func (f *forger) rewriteAll() []statement {
	run := f.run()
	out := append(f.rewrite(&run), save(run))
	at := slices.IndexFunc(f.chain, func(l remediation.Link) bool { return l.Run == run.ID })
	return append(out, f.relink(at, func(l *remediation.Link) { l.Head = run.Head })...)
}

// relink changes a link and hashes it and all later ones anew.
func (f *forger) relink(at int, change func(*remediation.Link)) []statement {
	var out []statement
	chain := slices.Clone(f.chain)
	change(&chain[at])
	for i := at; i < len(chain); i++ {
		if i > 0 {
			chain[i].Prev = chain[i-1].Hash
		}
		chain[i].Hash = chain[i].Digest()
		out = append(out, statement{"UPDATE chain SET head = $1, at = $2, prev = $3, hash = $4 WHERE seq = $5",
			[]any{chain[i].Head, chain[i].At.UnixMicro(), chain[i].Prev, chain[i].Hash, chain[i].Seq}})
	}
	return out
}

func (f *forger) changeHead() []statement {
	run := f.any()
	run.Head = fmt.Sprintf("%064x", f.Uint64())
	return []statement{save(run)}
}

func (f *forger) changeCount() []statement {
	run := f.any()
	run.Entries += int(f.off())
	return []statement{save(run)}
}

// erase drops all that is stored of a run but its link.
func (f *forger) erase(run string) []statement {
	return []statement{drop("runs", "id", run), drop("journal", "run", run), drop("steps", "run", run)}
}

func (f *forger) passOff() []statement {
	run := f.run().ID
	pruned := statement{"UPDATE chain SET pruned_at = $1 WHERE run = $2", []any{f.now.UnixMicro(), run}}
	return append(f.erase(run), pruned)
}

func (f *forger) revive() []statement {
	return []statement{{"UPDATE runs SET state = 'waiting' WHERE id = $1", []any{f.run().ID}}}
}

func (f *forger) link() remediation.Link { return f.chain[f.IntN(len(f.chain))] }

func (f *forger) changeLinkText() []statement {
	l := f.link()
	column := []string{"run", "head", "prev", "hash"}[f.IntN(4)]
	old := map[string]string{"run": l.Run, "head": l.Head, "prev": l.Prev, "hash": l.Hash}[column]
	return []statement{{"UPDATE chain SET " + column + " = $1 WHERE seq = $2", []any{f.flip(old), l.Seq}}}
}

func (f *forger) changeLinkNumber() []statement {
	l := f.link()
	switch f.IntN(3) {
	case 0:
		return []statement{{"UPDATE chain SET seq = $1 WHERE seq = $2", []any{l.Seq + 1000*f.off(), l.Seq}}}
	case 1:
		return []statement{{"UPDATE chain SET at = at + $1 WHERE seq = $2", []any{f.off(), l.Seq}}}
	default:
		return []statement{{"UPDATE chain SET entries = entries + $1 WHERE seq = $2", []any{f.off(), l.Seq}}}
	}
}

func (f *forger) dropLink() []statement { return []statement{drop("chain", "seq", f.link().Seq)} }

func (f *forger) cutChain() []statement {
	return []statement{{"DELETE FROM chain WHERE seq >= $1", []any{f.link().Seq}}}
}

func (f *forger) swapLinks() []statement {
	places := f.Perm(len(f.chain))
	a, b := f.chain[places[0]].Seq, f.chain[places[1]].Seq
	set := "UPDATE chain SET seq = $1 WHERE seq = $2"
	return []statement{{set, []any{-1, a}}, {set, []any{a, b}}, {set, []any{b, -1}}}
}

func (f *forger) addLink() []statement {
	l := f.chain[len(f.chain)-1].Next(remediation.Run{ID: "nobody", Head: fmt.Sprintf("%064x", f.Uint64()), Entries: 1 + f.IntN(9)}, f.now)
	return []statement{{"INSERT INTO chain (seq, run, head, entries, at, prev, hash) VALUES ($1, $2, $3, $4, $5, $6, $7)",
		[]any{l.Seq, l.Run, l.Head, l.Entries, l.At.UnixMicro(), l.Prev, l.Hash}}}
}

func (f *forger) later(l *remediation.Link) {
	l.At = l.At.Add(time.Duration(f.off()) * time.Microsecond)
}

func (f *forger) rehashLast() []statement { return f.relink(len(f.chain)-1, f.later) }

func (f *forger) rewriteChain() []statement { return f.relink(f.IntN(len(f.chain)), f.later) }

func (f *forger) markPruned() []statement {
	if f.IntN(4) == 0 {
		return []statement{{"UPDATE chain SET pruned_at = 0 WHERE seq = $1", []any{f.chain[0].Seq}}} // which is
	}
	return []statement{{"UPDATE chain SET pruned_at = $1 WHERE run = $2", []any{f.now.UnixMicro(), f.run().ID}}}
}
