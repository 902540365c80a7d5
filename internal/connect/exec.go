package connect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
)

// systemExec is the name of the connection kind of programs on this machine.
const systemExec = "exec"

// ExecConfig is a connection of kind `exec`: which programs may be run, and with which secrets.
type ExecConfig struct {
	// Binaries are the absolute paths of the programs that may be run; none other is.
	Binaries []string `yaml:"binaries" rules:"required"`
	// Directory is where they run; default: /.
	Directory string `yaml:"directory"`
	// Secrets are environment variables that actions may ask for by name, and where their values are kept.
	Secrets map[string]Secret `yaml:"secrets"`
}

func init() {
	Register(ConnectionKind{
		Name: systemExec,
		Doc:  "Programs on this machine that actions may run, each by its absolute path.",
		New:  func() Config { return &ExecConfig{} },
	})
}

// Check implements Config. It does not look at the disk: a rules file can be checked on another machine.
func (c *ExecConfig) Check() error {
	if len(c.Binaries) == 0 {
		return errors.New("binaries must name at least one program")
	}
	for _, path := range c.Binaries {
		if !filepath.IsAbs(path) || filepath.Clean(path) != path {
			return fmt.Errorf("binaries: %.80q is no plain absolute path", path)
		}
	}
	if c.Directory != "" && !filepath.IsAbs(c.Directory) {
		return errors.New("directory must be an absolute path")
	}
	for name, secret := range c.Secrets {
		if err := errors.Join(CheckVariable(name), place(secret)); err != nil {
			return fmt.Errorf("secrets: %s: %w", name, err)
		}
	}
	return nil
}

// CheckVariable refuses what is no name of an environment variable, and the names by which one makes a program run another's code. It is
// pure.
func CheckVariable(name string) error {
	for i, c := range name {
		if (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '_' && (i == 0 || c < '0' || c > '9') {
			return fmt.Errorf("%.40q is no name of an environment variable", name)
		}
	}
	loads := slices.ContainsFunc([]string{"LD_", "DYLD_", "BASH_FUNC_"}, func(p string) bool { return len(name) >= len(p) && name[:len(p)] == p })
	if name == "" || loads || slices.Contains([]string{"BASH_ENV", "ENV", "IFS", "SHELLOPTS", "BASHOPTS", "PS4"}, name) {
		return fmt.Errorf("the environment variable %.40q is not given to programs", name)
	}
	return nil
}

// Open implements Config.
func (c *ExecConfig) Open(context.Context) (io.Closer, error) { return NewPrograms(*c) }

// Programs are those that may be run on this machine. Safe for concurrent use.
type Programs struct{ cfg ExecConfig }

// NewPrograms checks the configuration. It reads no secret and runs nothing.
func NewPrograms(c ExecConfig) (*Programs, error) {
	if err := c.Check(); err != nil {
		return nil, fmt.Errorf("%s: %w", systemExec, err)
	}
	return &Programs{cfg: c}, nil
}

// Close implements io.Closer; there is nothing to close.
func (*Programs) Close() error { return nil }

// Allow refuses a program that is not declared. The error wraps ErrProgramRefused.
func (p *Programs) Allow(path string) error {
	if !slices.Contains(p.cfg.Binaries, path) {
		return fmt.Errorf("%w: %.80q is not among the declared binaries", ErrProgramRefused, path)
	}
	return nil
}

// ErrProgramRefused is returned, wrapped, for a program that the rules file does not declare. Nothing was run.
var ErrProgramRefused = errors.New("program refused")

// Directory is where programs run.
func (p *Programs) Directory() string {
	if p.cfg.Directory == "" {
		return "/"
	}
	return p.cfg.Directory
}

// Secret reads the value of a variable now.
func (p *Programs) Secret(name string) (Value, error) {
	secret, ok := p.cfg.Secrets[name]
	if !ok {
		return "", &SecretError{Err: fmt.Errorf("the connection declares none called %.40q", name)}
	}
	return secret.Read()
}
