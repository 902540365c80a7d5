package store

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// The server is an hour ahead. What is read is good to half of what the question took, and a worse reading replaces a better one only
// when that has grown old.
func TestServerClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ahead, there, back := time.Hour, time.Duration(0), time.Duration(0)
		var failure error
		c := &serverClock{ask: func(context.Context) (time.Time, error) {
			time.Sleep(there)
			server := time.Now().Add(ahead)
			time.Sleep(back)
			return server, failure
		}}
		off := func(what string, want time.Duration) {
			t.Helper()
			if got := c.now().Sub(time.Now().Add(time.Hour)); got.Round(time.Millisecond) != want {
				t.Errorf("%s: the clock is wrong by %s, want %s", what, got, want)
			}
		}
		read := func(a, b time.Duration) {
			t.Helper()
			there, back = a, b
			if err := c.set(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		read(0, 80*time.Millisecond)
		off("an answer that was slow on its way back", -40*time.Millisecond)
		read(10*time.Millisecond, 10*time.Millisecond)
		off("a fast one", 0)
		read(0, 80*time.Millisecond)
		off("a slow one after it", 0)
		ahead += time.Minute
		read(10*time.Millisecond, 10*time.Millisecond)
		off("the server's clock was set", time.Minute)
		ahead -= time.Minute
		time.Sleep(2 * time.Minute)
		read(0, 80*time.Millisecond)
		off("a slow one when the former is old", -40*time.Millisecond)
		failure = errors.New("gone")
		if err := c.measure(t.Context()); !errors.Is(err, failure) {
			t.Errorf("the failure is %v", err)
		}
		off("no answer", -40*time.Millisecond)
	})
}
