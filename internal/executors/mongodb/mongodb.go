// Package mongodb asks a MongoDB deployment how it is: whether it can be reached and has a primary, how busy it is, what runs for too long
// now, and what was slow of late. There are only probes: a change of a database is never made by automation, and the connection sends
// nothing that could be one.
//
// What a database tells of commands holds its users' data. Facts hold their shapes, in which every value is a question mark, and the names
// of databases, collections and fields, bounded and without anything but letters, digits and a few signs.
package mongodb

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
)

// System is the prefix of the kinds and the name of the target's section.
const System = "mongodb"

// connection is the entry under `connections` that these kinds use.
const connection = "mongodb"

func init() {
	executors.RegisterTarget(executors.TargetKind{
		Name: System,
		Doc:  "The database of the target in the MongoDB deployment.",
		New:  func() any { return &Section{} },
	})
}

// Section is the section `mongodb` of a target.
type Section struct {
	// Database is the name of the target's database.
	Database string `yaml:"database" rules:"required"`
}

// Validate tells in plain words what is wrong with the section.
func (s *Section) Validate(executors.Target) error { return checkDatabase(s.Database) }

// checkDatabase refuses what MongoDB does not take for a name (https://www.mongodb.com/docs/manual/reference/limits/#naming-restrictions).
func checkDatabase(name string) error {
	if name == "" || len(name) > 63 || strings.ContainsAny(name, "/\\. \"$*<>:|?\x00") {
		return errors.New("database must be the name of a database, without dots, blanks and the like")
	}
	return nil
}

// databaseOf is the parameter's, or else the section's.
func databaseOf(parameter string, t executors.Target) string {
	if s, ok := t.Systems[System].(*Section); ok && parameter == "" && s != nil {
		return s.Database
	}
	return parameter
}

// ask puts one question to the deployment.
func ask(ctx context.Context, env executors.Env, q connect.MongoAsk, use func(context.Context, *connect.MongoSession) error) error {
	mongo, err := connect.Get[*connect.Mongo](env.Connections, connection)
	if err != nil {
		return err
	}
	_, err = mongo.Ask(ctx, q, use)
	return err
}

// longestName bounds names that come from the database, in bytes.
const longestName = 120

// clean is a name from the database as facts may hold it.
func clean(name string) string {
	name = strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("_.$-:", r) {
			return r
		}
		return '?'
	}, strings.ToValidUTF8(name, "?"))
	return bounded(name, longestName)
}

func bounded(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// times counts in words for people.
func times(n int64, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// wait pauses unless the question is called off.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
