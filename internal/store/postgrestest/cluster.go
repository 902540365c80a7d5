//go:build linux

package postgrestest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	superuser = "postgres"
	// patience is for a machine that is busy with other tests: initdb and recovery take a second or two on an idle one.
	patience = 90 * time.Second
	lookFor  = 20 * time.Millisecond
)

// ErrMissing says that this machine has no PostgreSQL.
var ErrMissing = errors.New("no PostgreSQL here (Debian package postgresql)")

// Cluster is one PostgreSQL server with its directory. Safe for concurrent use.
type Cluster struct {
	bin, dir string
	settings []string
	owner    *syscall.Credential // nil: this process's own user

	mu     sync.Mutex
	server *server // nil while it is stopped
}

// Start makes a cluster in dir and waits until it takes connections. dir must be empty or absent, and user postgres must be able to
// reach it when the caller is root, as the server then runs as that user; "" makes a temporary one. Settings are "name=value" as in
// postgresql.conf; without any, what is committed is synced to the disk as in production. The caller calls Remove.
func Start(dir string, settings ...string) (*Cluster, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	c := &Cluster{bin: bin, dir: dir, settings: settings}
	if err := c.makeDir(); err != nil {
		return nil, fmt.Errorf("making the cluster's directory: %w", err)
	}
	if err := c.init(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(c.dir))
	}
	if err := c.Restart(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(c.dir))
	}
	return c, nil
}

// binaries finds the newest version's programs.
func binaries() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil || len(found) == 0 {
		return "", ErrMissing
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
		return n
	}
	newest := slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })
	return filepath.Dir(newest), nil
}

// makeDir makes the directory the server's own: PostgreSQL refuses to run as root.
func (c *Cluster) makeDir() (err error) {
	if c.dir == "" {
		c.dir, err = os.MkdirTemp("", "postgres")
	} else {
		err = os.MkdirAll(c.dir, 0o700)
	}
	if err != nil || os.Geteuid() != 0 {
		return err
	}
	if c.owner, err = account(); err != nil {
		return err
	}
	return os.Chown(c.dir, int(c.owner.Uid), int(c.owner.Gid))
}

func account() (*syscall.Credential, error) {
	a, err := user.Lookup(superuser)
	if err != nil {
		return nil, err
	}
	uid, uidErr := strconv.ParseUint(a.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(a.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, errors.Join(uidErr, gidErr)
}

// MakeDir makes a directory that the server may write to, for a tablespace.
func (c *Cluster) MakeDir(path string) error {
	if err := os.Mkdir(path, 0o700); err != nil || c.owner == nil {
		return err
	}
	return os.Chown(path, int(c.owner.Uid), int(c.owner.Gid))
}

func (c *Cluster) data() string { return filepath.Join(c.dir, "data") }

// init makes the files. They need not be synced: no test cuts the power.
func (c *Cluster) init() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := c.command(ctx, "initdb", "--pgdata", c.data(), "--username", superuser, "--auth", "trust", "--encoding", "UTF8",
		"--no-locale", "--no-sync", "--no-instructions")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

func (c *Cluster) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(c.bin, program), args...) //nolint:gosec // the programs are the ones that were found
	cmd.Dir = c.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.owner}
	return cmd
}

// DSN is how to reach a database of the cluster, whether it runs or not.
func (c *Cluster) DSN(database string) string {
	return "postgres://" + superuser + "@/" + url.PathEscape(database) + "?host=" + url.QueryEscape(c.dir)
}

// Create makes a database: an empty one, or a copy of a template that nobody is connected to.
func (c *Cluster) Create(database, template string) error {
	query := "CREATE DATABASE " + quote(database)
	if template != "" {
		query += " TEMPLATE " + quote(template)
	}
	_, err := c.Query("postgres", query)
	return err
}

func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// Query runs statements in a database through psql and gives the rows, one a line, columns separated by "|".
func (c *Cluster) Query(database, query string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(c.bin, "psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", c.DSN(database), "-c", query) //nolint:gosec // as above
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("psql: %w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	return strings.TrimSuffix(string(out), "\n"), nil
}

// Remove stops the server at once and deletes its directory.
func (c *Cluster) Remove() error { return errors.Join(c.Stop(true), os.RemoveAll(c.dir)) }
