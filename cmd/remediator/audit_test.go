package main

import (
	"database/sql"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
)

// verified is what `audit verify` says as JSON, and its exit code.
func (p *daemon) verified(t *testing.T, args ...string) (int, verification) {
	t.Helper()
	code, said := p.verb(t, append([]string{"audit", "verify", "-o", "json"}, args...)...)
	var v verification
	if err := json.Unmarshal([]byte(said), &v); err != nil {
		t.Fatalf("audit verify %v ended with %d and said %s", args, code, said)
	}
	return code, v
}

// TestAudit: the records of a running server hold, with the heads it has given out, and so does the file it leaves; what is changed in it
// afterwards is found, and so is a history that is written anew.
func TestAudit(t *testing.T) {
	t.Parallel()
	p := startServe(t, smallPlace(t))
	code, v := p.verified(t)
	want(t, "exit code with no record", code, exitFine)
	code, _ = p.verb(t, "audit", "head")
	want(t, "exit code of the head of nothing", code, exitProblem)
	p.deliver(t, time.Now())
	awaitWithin(t, 20*time.Second, "the run is done and linked", func() bool {
		code, v = p.verified(t)
		return code == exitFine && v.Links == 1
	})
	if v.Runs != 1 || v.Open+v.Unlinked != 0 || v.Entries == 0 || !v.OK {
		t.Errorf("audited %+v", v)
	}
	_, head := p.verb(t, "audit", "head")
	succeed(t, os.WriteFile(filepath.Join(p.dir, "notes"), []byte("remediator: OBSERVED\n\n"+head), 0o600))
	code, v = p.verified(t, "--anchors", "notes")
	if code != exitFine || v.Anchors[v.Head] != "link 1" || !strings.Contains(head, v.Head) {
		t.Errorf("with the head that was noted: exit code %d, %+v", code, v)
	}
	code, said := p.verb(t, "audit", "verify", "--anchor", "2:"+strings.Repeat("0", 64))
	if code != exitProblem || !strings.Contains(said, "anchor 2:0000") {
		t.Errorf("with a head that was never given out: exit code %d, %s", code, said)
	}
	for _, wrong := range [][]string{{"--anchor", "7"}, {"--anchors", "nothere"}, {"--anchors", defaultRules}} {
		code, _ = p.verb(t, append([]string{"audit", "verify"}, wrong...)...)
		want(t, "exit code of audit verify "+strings.Join(wrong, " "), code, exitUsage)
	}
	want(t, "exit code of the server", p.end(t), exitFine)
	p.auditTheFile(t)
}

// auditTheFile verifies what the server left, and then spoils it.
func (p *daemon) auditTheFile(t *testing.T) {
	t.Helper()
	offline := []string{"--db", defaultDB, "--anchors", "notes"}
	code, v := p.verified(t, offline...)
	if code != exitFine || v.Links != 1 || v.Unlinked != 0 {
		t.Errorf("the file that is left: exit code %d, %+v", code, v)
	}
	code, said := p.verb(t, "audit", "head", "--db", defaultDB)
	if code != exitFine || said != "fleet head "+v.Head+"\n" {
		t.Errorf("the file's head: exit code %d, %s", code, said)
	}
	code, said = p.verb(t, "audit", "verify", "--db", "sqlite:nothere.db")
	if _, err := os.Stat(filepath.Join(p.dir, "nothere.db")); code != exitProblem || !os.IsNotExist(err) {
		t.Errorf("a file that is not there: exit code %d, %s, %v", code, said, err)
	}
	db, err := sql.Open("sqlite", filepath.Join(p.dir, strings.TrimPrefix(defaultDB, "sqlite:")))
	succeed(t, err)
	defer func() { succeed(t, db.Close()) }()
	spoil := func(query string, args ...any) {
		t.Helper()
		_, err := db.ExecContext(t.Context(), query, args...)
		succeed(t, err)
	}
	var link remediation.Link
	var at int64
	succeed(t, db.QueryRowContext(t.Context(), `SELECT run, head, entries, at FROM chain`).Scan(&link.Run, &link.Head, &link.Entries, &at))
	forged := remediation.Link{}.Next(remediation.Run{ID: link.Run, Head: link.Head, Entries: link.Entries}, time.UnixMicro(at+1))
	spoil(`UPDATE chain SET at = $1, hash = $2`, at+1, forged.Hash)
	if code, v = p.verified(t, offline[:2]...); code != exitFine {
		t.Errorf("a history that holds by itself: exit code %d, %+v", code, v)
	}
	if code, v = p.verified(t, offline...); code != exitProblem || len(v.Findings) != 1 || !strings.HasPrefix(v.Findings[0].Place, "anchor 1:") {
		t.Errorf("a history that holds by itself, with the head that was noted: exit code %d, %+v", code, v)
	}
	spoil(`UPDATE journal SET text = 'nothing happened' WHERE seq = 1`)
	code, said = p.verb(t, "audit", "verify", "--db", defaultDB)
	if code != exitProblem || !strings.Contains(said, "run "+link.Run+", entry 1: ") || !strings.Contains(said, "do not hold: 1 problem") {
		t.Errorf("a changed entry: exit code %d, %s", code, said)
	}
}
