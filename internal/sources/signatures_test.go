package sources

import (
	"flag"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/mixillo/remediator/internal/connect"
)

var mutated = flag.Int("signatures", 20_000, "how many mutated signatures are tried, over all kinds together")

// signingSecret is an environment variable: it is quicker to read than a file.
const signingSecret = "SIGNATURES_TEST_SECRET"

// TestSignatures: no kind that proves a body by a signature takes one that is anything but right. Whatever signs by its fixture is tried.
func TestSignatures(t *testing.T) {
	t.Setenv(signingSecret, testKey)
	var forgeries []*forger
	for _, name := range Kinds() {
		if f := newForger(t, name); f != nil {
			forgeries = append(forgeries, f)
		}
	}
	if len(forgeries) == 0 {
		t.Fatal("no kind proves by a signature")
	}
	for _, f := range forgeries {
		t.Run(f.kind, func(t *testing.T) {
			t.Parallel()
			f.controls(t)
			accepted := f.forge(t, (*mutated+len(forgeries)-1)/len(forgeries))
			t.Logf("signatures: %d mutated, %d accepted; %d controls accepted", f.tried, accepted, len(f.authentic))
			f.controls(t)
		})
	}
}

// forger makes false proofs out of the right ones of a kind.
type forger struct {
	kind      string
	source    Source
	sign      func(content string, body []byte) Request
	authentic []Request // proven, one for each body
	headers   []string  // those that carry the proof
	random    *rand.Rand
	tried     int
}

// newForger gives nil for a kind whose proof does not hang on the body.
func newForger(t *testing.T, name string) *forger {
	t.Helper()
	fix, ok := fixtures[name]
	if !ok {
		t.Fatalf("source %s has no fixture", name)
	}
	kind, _ := Lookup(name)
	f := &forger{kind: name, sign: fix.sign, random: rand.New(rand.NewPCG(1, uint64(len(name))))}
	one, other := fix.sign(testKey, []byte(fix.bodies[0])), fix.sign(testKey, []byte(fix.bodies[0]+" "))
	for header := range one.Header {
		if !slices.Equal(one.Header[header], other.Header[header]) {
			f.headers = append(f.headers, header)
		}
	}
	if len(f.headers) == 0 {
		return nil
	}
	slices.Sort(f.headers)
	for _, body := range fix.bodies {
		f.authentic = append(f.authentic, fix.sign(testKey, []byte(body)))
	}
	f.source = configured(t, kind, fix, connect.Secret{Env: signingSecret})
	return f
}

func (f *forger) controls(t *testing.T) {
	t.Helper()
	for i, r := range f.authentic {
		if err := f.source.Authenticate(r); err != nil {
			t.Fatalf("the authentic delivery %d is refused: %v", i, err)
		}
	}
}

// forge tries so many false proofs: first all that can be listed, in an order of chance, then chains of random ones.
func (f *forger) forge(t *testing.T, most int) (accepted int) {
	listed := f.listed()
	f.random.Shuffle(len(listed), func(i, j int) { listed[i], listed[j] = listed[j], listed[i] })
	try := func(r Request) {
		if f.genuine(r) {
			return
		}
		f.tried++
		if f.source.Authenticate(r) == nil {
			accepted++
			t.Errorf("accepted: %q over a body of %d bytes", r.Header, len(r.Body))
		}
	}
	for _, change := range listed[:min(len(listed), most/2)] {
		try(change())
	}
	for f.tried < most && accepted < 10 {
		r := cloned(f.authentic[f.random.IntN(len(f.authentic))])
		for range 1 + f.random.IntN(2) {
			f.spoil(&r)
		}
		try(r)
	}
	return accepted
}

// genuine tells a proof that is right after all: two changes may undo each other, and one of a list of signatures is enough.
func (f *forger) genuine(r Request) bool {
	want := f.sign(testKey, r.Body)
	for _, name := range f.headers {
		if !slices.ContainsFunc(elements(r.Header[name]), func(one string) bool { return slices.Contains(elements(want.Header[name]), one) }) {
			return false
		}
	}
	return true
}

func elements(values []string) (all []string) {
	for _, one := range strings.Split(strings.Join(values, ","), ",") {
		all = append(all, strings.Trim(one, " \t"))
	}
	return append(all, values...)
}

func cloned(r Request) Request {
	r.Header, r.Body = r.Header.Clone(), slices.Clone(r.Body)
	return r
}

// listed are the changes that can be listed: every bit of the proof and of the body, every cut, other secrets, other proofs' parts.
func (f *forger) listed() (all []func() Request) {
	for i := range f.authentic {
		change := func(spoil func(r *Request)) {
			all = append(all, func() Request { r := cloned(f.authentic[i]); spoil(&r); return r })
		}
		for bit := range 8 * len(f.authentic[i].Body) {
			change(func(r *Request) { r.Body[bit/8] ^= 1 << (bit % 8) })
		}
		for end := range f.authentic[i].Body {
			change(func(r *Request) { r.Body = r.Body[:end] })
		}
		for _, name := range f.headers {
			f.listHeader(f.authentic[i].Header[name][0], func(value ...string) { change(func(r *Request) { r.Header[name] = value }) })
			change(func(r *Request) { r.Header.Del(name) })
		}
		for _, secret := range []string{testOtherKey, "", testKey[1:], testKey + " ", strings.ToUpper(testKey), testKey + testKey} {
			change(func(r *Request) { *r = f.sign(secret, r.Body) })
		}
		other := f.authentic[(i+1)%len(f.authentic)]
		change(func(r *Request) { r.Header = other.Header.Clone() })
		change(func(r *Request) { r.Body = append(r.Body, other.Body...) })
		change(func(r *Request) { r.Body = append(r.Body, r.Body...) })
		change(func(r *Request) { r.Body = nil })
	}
	return all
}

// listHeader lists the changes of one value.
func (f *forger) listHeader(value string, change func(values ...string)) {
	for bit := range 8 * len(value) {
		b := []byte(value)
		b[bit/8] ^= 1 << (bit % 8)
		change(string(b))
	}
	for at := 1; at < len(value); at++ {
		front, back := value[:at], value[at:]
		change(front)
		change(back)
		change(front, back)
		for _, between := range []string{",", ", ", " ", "\t", "\x00", "\u200b", "\u00a0", "=", "%00", "\r\n"} {
			change(front + between + back)
		}
	}
	for _, edge := range []string{"\u00a0", "\u2003", "\u200b", "\ufeff", "\x00", "\v", "'", `"`, "=", "0", "00"} {
		change(value + edge)
		change(edge + value)
	}
	for _, alike := range [][2]string{{"a", "а"}, {"c", "с"}, {"e", "е"}, {"1", "１"}, {"0", "O"}, {"0", "٠"}, {"f", "ｆ"}, {"v", "ѵ"}, {"s", "ſ"}} {
		change(strings.Replace(value, alike[0], alike[1], 1))
		change(strings.ReplaceAll(value, alike[0], alike[1]))
	}
	change(value + value)
	change(strings.ToUpper(value))
	change("")
	change()
	for _, prefix := range prefixes(value) {
		change(prefix)
	}
}

// prefixes give a value other words before its signature.
func prefixes(value string) (all []string) {
	mac := value[strings.LastIndexAny(value, "= ")+1:]
	for _, prefix := range []string{"", "v0=", "v1=", "v2=", "V1=", "v1:", "v1 =", "sha1=", "sha256=", "SHA256=", "sha512=", "hmac=", "none=", "Bearer ", "="} {
		if prefix+mac != value {
			all = append(all, prefix+mac)
		}
	}
	return append(all, mac[:len(mac)/2]+value, value+"="+mac)
}

// spoil makes one random change.
func (f *forger) spoil(r *Request) {
	name := f.headers[f.random.IntN(len(f.headers))]
	value := strings.Join(r.Header[name], "")
	switch f.random.IntN(8) {
	case 0:
		r.Body = f.text(r.Body)
	case 1:
		r.Header[name] = []string{f.alphabet(len(value))}
	case 2: // the front of one proof and the end of another
		other := strings.Join(f.authentic[f.random.IntN(len(f.authentic))].Header[name], "")
		at := f.random.IntN(min(len(value), len(other)) + 1)
		r.Header[name] = []string{value[:at] + other[at:]}
	case 3:
		*r = f.sign(f.alphabet(24+f.random.IntN(30)), r.Body)
	case 4: // several headers, none of them right
		r.Header[name] = []string{string(f.text([]byte(value))), f.alphabet(len(value))}
	case 5:
		r.Header = http.Header{name: {string(f.text([]byte(value)))}}
	default:
		r.Header[name] = []string{string(f.text([]byte(value)))}
	}
}

// text changes one to three bytes, or cuts or doubles a part.
func (f *forger) text(b []byte) []byte {
	b = slices.Clone(b)
	if len(b) == 0 {
		return []byte{byte(f.random.IntN(256))}
	}
	at := f.random.IntN(len(b))
	switch f.random.IntN(4) {
	case 0:
		return slices.Delete(b, at, at+1+f.random.IntN(len(b)-at))
	case 1:
		return slices.Insert(b, at, b[:at+1]...)
	case 2:
		return slices.Insert(b, at, byte(f.random.IntN(256)))
	default:
		for range 1 + f.random.IntN(3) {
			b[f.random.IntN(len(b))] ^= 1 << f.random.IntN(8)
		}
		return b
	}
}

func (f *forger) alphabet(length int) string {
	b := make([]byte, length)
	for i := range b {
		b[i] = "0123456789abcdef="[f.random.IntN(17)]
	}
	return string(b)
}
