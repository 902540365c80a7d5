package torture

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// The sender is a process of its own: Alertmanager and PagerDuty in one. What is not answered with 2xx it keeps and sends again with the
// same body. What is answered with 2xx it writes down before it counts it as sent.

// senderConfig is the first line that the sender is told.
type senderConfig struct {
	Servers []string `json:"servers"` // base addresses, taken in turn
	Journal string   `json:"journal"`
	Rate    int      `json:"rate"` // deliveries a second that it makes up by itself
	Seed    uint64   `json:"seed"`
	Token   string   `json:"token"`   // Alertmanager's bearer
	Signing string   `json:"signing"` // PagerDuty's key
	Quiet   []string `json:"quiet"`   // incidents that concern no rule, to be looked up
	Storm   *storm   `json:"storm,omitempty"`
}

// order is every other line: a delivery to make beside its own, or the end.
type order struct {
	Delivery *delivery `json:"delivery,omitempty"`
	Stop     bool      `json:"stop,omitempty"` // make up no more; end when everything was taken
}

// delivery is one webhook to be sent until it is taken, and what the checker has to know of it.
type delivery struct {
	Kind   string  `json:"kind"`
	Source string  `json:"source"`
	Alerts []about `json:"alerts,omitempty"` // that concern a rule
	Body   []byte  `json:"body,omitempty"`
}

// about is what decides of one alert of a delivery.
type about struct {
	Name   string `json:"name"`
	Target string `json:"target"`
	Outage string `json:"outage"`
	Firing bool   `json:"firing"`
}

// receipt is a line of the journal: a delivery that was answered with 2xx, or, with a Status of its own, one that was turned away.
type receipt struct {
	delivery
	Status    int       `json:"status"`
	Event     string    `json:"event"`
	Runs      []string  `json:"runs,omitempty"`
	Duplicate bool      `json:"duplicate,omitempty"`
	At        time.Time `json:"at"`
	Tries     int       `json:"tries"`
}

// tally is what the sender says of itself every second, and at its end.
type tally struct {
	Accepted int64 `json:"accepted"`
	Retried  int64 `json:"retried"`
	Turned   int64 `json:"turned"` // answered with 4xx
	Waiting  int64 `json:"waiting"`
	Stalled  int64 `json:"stalled"` // not made up, because too many waited
	Over     bool  `json:"over"`
}

const (
	sendPatience = 10 * time.Second // for one answer: a shorter one makes a slow server slower still
	mostWaiting  = 8192
	sendersHands = 384 // deliveries on their way at a time: a server that is halted holds those it has
	firstAgain   = 50 * time.Millisecond
	lastAgain    = time.Second
)

type sender struct {
	senderConfig
	client  http.Client
	journal *os.File
	queue   chan delivery
	hands   sync.WaitGroup
	turn    atomic.Int64
	tally   struct{ accepted, retried, turned, waiting, stalled atomic.Int64 }
	failed  atomic.Pointer[error]
}

// sendAlways is the sender's process: orders come in, tallies go out.
func sendAlways(in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 4<<20)
	if !lines.Scan() {
		return fmt.Errorf("no configuration was given: %w", lines.Err())
	}
	s := &sender{queue: make(chan delivery, mostWaiting)}
	if err := json.Unmarshal(lines.Bytes(), &s.senderConfig); err != nil {
		return err
	}
	var err error
	if s.journal, err = os.OpenFile(s.Journal, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		return err
	}
	s.client = http.Client{Timeout: sendPatience, Transport: &http.Transport{MaxIdleConnsPerHost: sendersHands, MaxConnsPerHost: sendersHands}}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go s.report(ctx, out, ended)
	for range sendersHands {
		s.hands.Go(func() {
			for d := range s.queue {
				s.send(ctx, d)
			}
		})
	}
	s.obey(lines)
	close(s.queue)
	s.hands.Wait()
	stop()
	<-ended
	s.say(out, true)
	if failure := s.failed.Load(); failure != nil {
		return *failure
	}
	return s.journal.Close()
}

// obey makes up deliveries at the rate, and those it is told, until it is told to stop or nobody is there to tell it.
func (s *sender) obey(lines *bufio.Scanner) {
	orders := make(chan order)
	go func() {
		defer close(orders)
		for lines.Scan() {
			var o order
			if json.Unmarshal(lines.Bytes(), &o) != nil || o.Stop {
				return
			}
			orders <- o
		}
	}()
	own := s.source()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	began := time.Now()
	for made := int64(0); ; {
		select {
		case o, more := <-orders:
			if !more {
				return
			}
			s.tally.waiting.Add(1)
			s.queue <- *o.Delivery
		case now := <-tick.C:
			for due := int64(now.Sub(began).Seconds() * float64(s.Rate)); made < due; made++ {
				s.makeUp(own)
			}
		}
	}
}

// makeUp takes up one delivery of the sender's own, unless too many wait: then it is as if it had not happened.
func (s *sender) makeUp(own source) {
	if len(s.queue) >= mostWaiting/2 {
		s.tally.stalled.Add(1)
		return
	}
	if d, ok := own.next(time.Now()); ok {
		s.tally.waiting.Add(1)
		s.queue <- d
	}
}

// source is where deliveries of the sender's own come from; false once there are no more.
type source interface {
	next(now time.Time) (delivery, bool)
}

func (s *sender) source() source {
	if s.Storm != nil {
		return newStormSource(*s.Storm, s.Seed)
	}
	return newNoise(s.Seed, s.Quiet)
}

// send keeps a delivery until it is taken.
func (s *sender) send(ctx context.Context, d delivery) {
	defer s.tally.waiting.Add(-1)
	wait := firstAgain
	for tries := 1; ; tries++ {
		r, err := s.post(d)
		r.Tries = tries
		if err == nil && (r.Status < 300 || r.Status >= 400 && r.Status < 500 && r.Status != http.StatusTooManyRequests) {
			s.write(r)
			return
		}
		s.tally.retried.Add(1)
		if !pause(ctx, wait) {
			return
		}
		wait = min(2*wait, lastAgain)
	}
}

// post makes one try.
func (s *sender) post(d delivery) (receipt, error) {
	r := receipt{delivery: d}
	base := s.Servers[int(s.turn.Add(1))%len(s.Servers)]
	req, err := http.NewRequest(http.MethodPost, base+"/v1/webhooks/"+d.Source, bytes.NewReader(d.Body))
	if err != nil {
		return r, err
	}
	req.Header.Set("Content-Type", "application/json")
	if d.Source == pagerDutySource {
		req.Header.Set("X-PagerDuty-Signature", "v1="+sign(s.Signing, d.Body))
	} else {
		req.Header.Set("Authorization", "Bearer "+s.Token)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return r, err
	}
	defer func() { _ = resp.Body.Close() }()
	r.Status = resp.StatusCode
	// A 2xx is an answer even when the rest of it is cut off: from then on the server owes the delivery.
	body, cut := io.ReadAll(resp.Body)
	var said struct {
		Event     string   `json:"event"`
		Runs      []string `json:"runs"`
		Duplicate bool     `json:"duplicate"`
	}
	if json.Unmarshal(body, &said) == nil {
		r.Event, r.Runs, r.Duplicate = said.Event, said.Runs, said.Duplicate
	}
	if cut != nil && r.Status >= 300 {
		return r, cut
	}
	return r, nil
}

// write appends a receipt with a single write, and only then counts it.
func (s *sender) write(r receipt) {
	r.At, r.Body = time.Now().UTC(), nil
	line, err := json.Marshal(r)
	if err == nil {
		_, err = s.journal.Write(append(line, '\n'))
	}
	if err != nil {
		s.failed.CompareAndSwap(nil, &err)
		return
	}
	if r.Status < 300 {
		s.tally.accepted.Add(1)
		return
	}
	s.tally.turned.Add(1)
}

func (s *sender) report(ctx context.Context, out io.Writer, ended chan<- struct{}) {
	defer close(ended)
	for pause(ctx, time.Second) {
		s.say(out, false)
	}
}

func (s *sender) say(out io.Writer, over bool) {
	t := tally{
		Accepted: s.tally.accepted.Load(), Retried: s.tally.retried.Load(), Turned: s.tally.turned.Load(),
		Waiting: s.tally.waiting.Load(), Stalled: s.tally.stalled.Load(), Over: over,
	}
	line, err := json.Marshal(t)
	if err == nil {
		_, _ = out.Write(append(line, '\n'))
	}
}
