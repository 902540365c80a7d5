package remediation_test

import (
	"strings"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
)

// FuzzChain: links that follow each other hold; one that was changed, dropped, repeated or moved is found at its place.
func FuzzChain(f *testing.F) {
	f.Add("run-1,run-2,run-3", int64(1_774_600_000_123_456), uint8(1), uint8(0), "x")
	f.Add("a,,b", int64(0), uint8(2), uint8(5), "")
	f.Add("a\xff,b", int64(-1), uint8(0), uint8(3), "\xff")
	f.Fuzz(func(t *testing.T, ids string, at int64, place, how uint8, text string) {
		links := linked(strings.Split(ids, ","), at)
		if remediation.VerifyChain(remediation.Link{}, links) != -1 {
			if strings.ToValidUTF8(ids, "") == ids && links[0].At.Year() < 9000 && links[0].At.Year() > 0 {
				t.Fatalf("%+v does not hold", links)
			}
			return
		}
		i := int(place) % len(links)
		forged := forge(links, i, how, text)
		if forged == nil {
			return
		}
		if found := remediation.VerifyChain(remediation.Link{}, forged); found < 0 || found > i+1 {
			t.Fatalf("%d of %+v was forged to %+v; found at %d", i, links, forged, found)
		}
	})
}

func linked(ids []string, at int64) []remediation.Link {
	var links []remediation.Link
	var last remediation.Link
	for n, id := range ids {
		last = last.Next(remediation.Run{ID: id, Head: "head of " + id, Entries: n}, time.UnixMicro(at).Add(time.Duration(n)*time.Second))
		links = append(links, last)
	}
	return links
}

// forge changes a link in one of a few ways, nil where nothing is changed by it.
func forge(links []remediation.Link, i int, how uint8, text string) []remediation.Link {
	forged := append([]remediation.Link{}, links...)
	switch l := &forged[i]; how % 7 {
	case 0:
		l.Run += text
	case 1:
		l.Head = text
	case 2:
		l.Entries++
	case 3:
		l.At = l.At.Add(time.Microsecond)
	case 4: // dropped, and what follows counted anew
		if i == len(links)-1 {
			return nil
		}
		forged = append(forged[:i], forged[i+1:]...)
		for n := i; n < len(forged); n++ {
			forged[n].Seq--
		}
	case 5:
		l.Hash = text
	default: // with a hash of its own
		l.Entries++
		l.Hash = l.Digest()
		if i == len(links)-1 {
			return nil
		}
	}
	if how%7 < 2 && forged[i] == links[i] || how%7 == 5 && forged[i].Hash == links[i].Hash {
		return nil
	}
	return forged
}

// FuzzAnchor: an anchor is written as it is read, and found in a note wherever the words stand before it.
func FuzzAnchor(f *testing.F) {
	hash := strings.Repeat("0123456789abcdef", 4)
	f.Add("7:"+hash, "fixed; fleet head ", " journal head "+hash)
	f.Add(hash, "", "\n"+hash)
	f.Add("999999999999999999:"+hash, "x", "-")
	f.Add("0:"+hash, "\n", hash)
	f.Fuzz(func(t *testing.T, text, before, after string) {
		for _, a := range remediation.FindAnchors(before + text + after) {
			if again, ok := remediation.ParseAnchor(a.String()); !ok || again != a || !strings.Contains(before+text+after, a.String()) {
				t.Fatalf("%+v was found and is read as %+v, %t", a, again, ok)
			}
		}
		a, ok := remediation.ParseAnchor(text)
		if !ok {
			return
		}
		if a.String() != text || a.Seq < 0 || len(a.Hash) != 64 {
			t.Fatalf("%q is %+v, %s", text, a, a)
		}
		found := remediation.FindAnchors("told: fleet head " + text + " (" + strings.ReplaceAll(after, text, "") + ")")
		if len(found) == 0 || found[0] != a {
			t.Fatalf("%q is not found first: %v", text, found)
		}
	})
}
