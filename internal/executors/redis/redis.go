// Package redis asks a Redis server how it is, and empties the parts of it that a target declares to be a cache.
package redis

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
)

// System is the name of the target section and the first part of the kinds' names.
const System = "redis"

// Names of our own keys. They are never part of a keyspace that is flushed by its prefix.
const (
	ownKeys = "remediator:"
	// HoldKey is set by people, in the database concerned, to keep remediator from flushing anything there:
	// SET remediator:hold "ann, until the import is done" EX 3600.
	HoldKey   = ownKeys + "hold"
	flushKeys = ownKeys + "flush:" // and the operation id
)

const (
	defaultMaxKeys = 100_000
	mostMaxKeys    = 1_000_000
	leastPrefix    = 2
)

func init() {
	executors.RegisterTarget(executors.TargetKind{
		Name: System,
		Doc:  "The Redis server behind the target, and which parts of it may be emptied.",
		New:  func() any { return &Server{} },
	})
}

// Server is the section `redis` of a target.
type Server struct {
	// Connection is the name of the connection to the server; default redis.
	Connection string `yaml:"connection"`
	// Keyspaces are the parts of the server that redis.flush may empty, by the names that rules call them. Nothing else is flushed.
	Keyspaces map[string]Keyspace `yaml:"keyspaces"`
	// MaxKeys is the most keys that a database may hold for a flush to be made in it: for that long nobody else is served, about a
	// second for a million. Default 100000.
	MaxKeys int `yaml:"max_keys"`
}

// Keyspace is a part of a server: the keys of one logical database that begin with a prefix, or all of them.
type Keyspace struct {
	// Database is the number of the logical database; default: the connection's.
	Database *int `yaml:"database"`
	// Prefix is what the keys begin with, taken literally.
	Prefix string `yaml:"prefix"`
	// Whole says, in the place of a prefix, that all keys of the database are meant.
	Whole bool `yaml:"whole"`
}

// Validate tells in plain words what is wrong with the section.
func (s *Server) Validate(executors.Target) error {
	if s.MaxKeys < 0 || s.MaxKeys > mostMaxKeys {
		return fmt.Errorf("max_keys must be between 1 and %d", mostMaxKeys)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Keyspaces)) {
		if err := s.Keyspaces[name].check(); err != nil {
			return fmt.Errorf("keyspace %s: %w", name, err)
		}
	}
	return nil
}

// check: what is left out never means everything, and a prefix is no pattern.
func (k Keyspace) check() error {
	plain := func(r rune) bool { return r > ' ' && r <= '~' && !strings.ContainsRune(`*?[]^\%"'`, r) }
	switch {
	case k.Database != nil && *k.Database < 0:
		return errors.New("database must be the number of a logical database")
	case k.Whole && k.Prefix != "":
		return errors.New("whole and prefix exclude each other")
	case k.Whole:
		return nil
	case k.Prefix == "":
		return errors.New("prefix must be given, or whole: true")
	case len(k.Prefix) < leastPrefix:
		return fmt.Errorf("prefix must be at least %d characters long", leastPrefix)
	case strings.ContainsFunc(k.Prefix, func(r rune) bool { return !plain(r) }):
		return errors.New("prefix is taken literally and must hold neither spaces nor any of * ? [ ] ^ \\ % \" '")
	case strings.HasPrefix(ownKeys, k.Prefix) || strings.HasPrefix(k.Prefix, ownKeys):
		return errors.New("prefix must leave out the keys of remediator itself, which begin with " + ownKeys)
	}
	return nil
}

// Identity implements executors.Identified: redis/HOST:PORT.
func (s *Server) Identity(set connect.Set) string {
	server, err := s.open(set)
	if err != nil {
		return System + "/"
	}
	return identity(server)
}

func identity(server *connect.Redis) string { return System + "/" + server.Address() }

func (s *Server) open(set connect.Set) (*connect.Redis, error) {
	name, _ := s.Connects()
	return connect.Get[*connect.Redis](set, name)
}

// Connects implements executors.Connecting.
func (s *Server) Connects() (name, kind string) { return cmp.Or(s.Connection, System), System }

func (s *Server) maxKeys() int64 { return int64(cmp.Or(s.MaxKeys, defaultMaxKeys)) }

// section finds the target's section.
func section(t executors.Target) (*Server, error) {
	s, ok := t.Systems[System].(*Server)
	if !ok || s == nil {
		return nil, errors.New("the target needs a section redis that names the connection")
	}
	return s, nil
}

// opened gives the target's section and its server.
func opened(env executors.Env) (*Server, *connect.Redis, error) {
	s, err := section(env.Target)
	if err != nil {
		return nil, nil, err
	}
	server, err := s.open(env.Connections)
	return s, server, err
}

// mostShown bounds what is told of the name of a key, in bytes: names are data of strangers.
const mostShown = 80

// shown is the name of a key, or another text from outside, as notes may show it.
func shown(text string) string {
	clean := strings.Map(func(r rune) rune {
		if strconv.IsPrint(r) {
			return r
		}
		return '·'
	}, strings.ToValidUTF8(text, "·"))
	if len(clean) > mostShown {
		clean = strings.ToValidUTF8(clean[:mostShown], "") + "…"
	}
	return clean
}

// pause waits, unless the asking is called off.
func pause(done <-chan struct{}, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
	}
}
