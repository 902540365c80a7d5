// Package status reads what vendors tell of themselves: pages of Atlassian Statuspage, Google Cloud's feed of incidents, and Stripe, whose
// API is asked as well because its page has been seen frozen. A page is a vendor's word and not a measurement: how old it is always is a
// part of the fact, and a page that is too old says nothing.
package status

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/connect"
)

const (
	system = "status"
	// wordsMost bounds the texts of a page in facts, in characters; tellMost how many things of one sort a fact holds.
	wordsMost, tellMost = 160, 20
)

// address reads the base address of a page. The rules file names it, so its host may be asked.
func address(parameter, raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("%s must begin with https:// or http:// and name a host", parameter)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("%s must hold no user, query or fragment", parameter)
	case connect.CheckHost(u) != nil:
		return nil, fmt.Errorf("%s is a link-local or metadata address, which is never asked", parameter)
	}
	return u, nil
}

// read asks for one JSON document below a page's address.
func read(ctx context.Context, base *url.URL, path, doing string, most int64, into any) error {
	api, err := connect.NewREST(connect.RESTConfig{System: system, Endpoint: base.String(), Insecure: base.Scheme == "http", MaxBody: most})
	if err != nil {
		return err
	}
	defer func() { _ = api.Close() }()
	return api.Do(ctx, connect.Request{Doing: doing, Path: path}, into)
}

// worst gives the value that ranks highest; one that is not ranked counts as the highest of all, because nobody knows what it means.
func worst(ranks, values []string) string {
	return slices.MaxFunc(append([]string{""}, values...), func(a, b string) int { return cmp.Compare(rank(ranks, a), rank(ranks, b)) })
}

func rank(ranks []string, value string) int {
	if i := slices.Index(ranks, value); i >= 0 || value == "" {
		return i
	}
	return len(ranks)
}

// meant reports whether one of the words is within one of the texts, whatever their case; without words everything is meant.
func meant(words []string, texts ...string) bool {
	return len(words) == 0 || slices.ContainsFunc(words, func(word string) bool {
		return slices.ContainsFunc(texts, func(text string) bool { return holds(text, word) })
	})
}

func holds(text, word string) bool {
	return strings.Contains(strings.ToLower(text), strings.ToLower(word))
}

// needsWords refuses empty words, which would be within everything.
func needsWords(parameter string, words []string) error {
	if slices.ContainsFunc(words, func(w string) bool { return strings.TrimSpace(w) == "" }) {
		return errors.New(parameter + " must not hold an empty word")
	}
	return nil
}

func words(text string) string { return connect.Line(text, wordsMost) }

// old shows an age to people.
func old(d time.Duration) string { return d.Round(time.Second).String() }
