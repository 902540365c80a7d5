package connect

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	systemRedis = "redis"
	// maxRedisReplies bounds what one session reads, in bytes: names of keys may be as long as those who make them like.
	maxRedisReplies = 64 << 20
	// maxRedisDatabase is far above what servers are configured with (16 by default): the server itself knows how many it has.
	maxRedisDatabase = 1 << 16
)

// RedisConfig is the connection `redis`: one server, not a cluster.
type RedisConfig struct {
	// Endpoint is the server's host:port.
	Endpoint string `yaml:"endpoint" rules:"required"`
	// User is the name in the server's access control list; default: the server's default user.
	User string `yaml:"user"`
	// Password of the user, or the server's requirepass.
	Password Secret `yaml:"password"`
	// Database is the logical database that is meant where none is named; default 0.
	Database int `yaml:"database"`
	// CAFile holds the certificates, in PEM, of the authority that has signed the server's; default: the machine's own authorities.
	CAFile string `yaml:"ca_file"`
	// Insecure speaks without TLS.
	Insecure bool `yaml:"insecure"`
	// Timeout of one session, which is one command or a few; default 10s.
	Timeout time.Duration `yaml:"timeout"`
}

func init() {
	Register(ConnectionKind{
		Name: systemRedis,
		Doc:  "A Redis server, reached over TLS.",
		New:  func() Config { return &RedisConfig{} },
	})
	goredis.SetLogger(silent{}) // what fails is told by errors, and once
}

type silent struct{}

// Printf implements the library's logger.
func (silent) Printf(context.Context, string, ...any) {}

// Check implements Config.
func (c *RedisConfig) Check() error {
	host, port, err := net.SplitHostPort(c.Endpoint)
	number, noNumber := strconv.ParseUint(port, 10, 16)
	switch {
	case err != nil || host == "" || noNumber != nil || number == 0:
		return errors.New("redis: endpoint must be host:port")
	case isMetadataName(plainHost(host)):
		return fmt.Errorf("redis: endpoint: %w: %s is a link-local or metadata address", ErrHostRefused, host)
	case c.User != "" && c.Password.IsZero():
		return errors.New("redis: a user needs a password")
	case c.Database < 0 || c.Database > maxRedisDatabase:
		return errors.New("redis: database must be the number of a logical database")
	case c.Insecure && c.CAFile != "":
		return errors.New("redis: ca_file and insecure exclude each other")
	case c.Timeout < 0:
		return errors.New("redis: timeout must not be negative")
	}
	return nil
}

// Open implements Config.
func (c *RedisConfig) Open(context.Context) (io.Closer, error) { return NewRedis(*c) }

// Redis opens sessions on one server. Safe for concurrent use.
type Redis struct {
	cfg     RedisConfig
	address string // host:port as the host is compared: in lower case
}

// NewRedis checks the configuration. It reads no secret and calls nothing.
func NewRedis(c RedisConfig) (*Redis, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	host, port, err := net.SplitHostPort(c.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("redis: endpoint: %w", err)
	}
	return &Redis{cfg: c, address: net.JoinHostPort(plainHost(host), port)}, nil
}

// Close has nothing to close: a session ends with its use.
func (r *Redis) Close() error { return nil }

// Address is the server's host:port.
func (r *Redis) Address() string { return r.address }

// Database is the logical database that is meant where none is named.
func (r *Redis) Database() int { return r.cfg.Database }

// Session is one authenticated connection on one logical database. For one goroutine at a time.
type Session struct {
	client *goredis.Client
	secret Value
}

// Session dials, proves who we are, and lets use speak to a logical database. The password is read anew, nothing is retried, and the
// connection is closed at the end. Errors of the session's calls are *CallError or *RateLimited and show no secret.
func (r *Redis) Session(ctx context.Context, database int, use func(context.Context, *Session) error) error {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	const doing = "connecting to the server"
	var password Value
	if !r.cfg.Password.IsZero() {
		var err error
		if password, err = r.cfg.Password.Read(); err != nil {
			return redisError(ctx, doing, err, false)
		}
	}
	conn, err := r.dial(ctx)
	if err != nil {
		return redisError(ctx, doing, err, false)
	}
	defer func() { _ = conn.Close() }()
	s := &Session{client: r.client(conn, database, password), secret: password}
	defer func() { _ = s.client.Close() }()
	// Whatever is wrong with the credential or the database comes out before anything is changed.
	if _, err := s.Read(ctx, doing, "PING"); err != nil {
		return err
	}
	return use(ctx, s)
}

// client speaks over the one connection alone: a command that failed is not sent again over another.
func (r *Redis) client(conn net.Conn, database int, password Value) *goredis.Client {
	once := make(chan net.Conn, 1)
	once <- conn
	return goredis.NewClient(&goredis.Options{
		Addr: r.address, Username: r.cfg.User, Password: password.Reveal(), DB: database, Protocol: 2,
		Dialer: func(context.Context, string, string) (net.Conn, error) {
			select {
			case c := <-once:
				return c, nil
			default:
				return nil, net.ErrClosed
			}
		},
		MaxRetries: -1, DialerRetries: 1, PoolSize: 1, PipelinePoolSize: -1, ContextTimeoutEnabled: true,
		ReadTimeout: r.cfg.Timeout, WriteTimeout: r.cfg.Timeout, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

// dial reaches the configured address alone, wherever its name leads, and no metadata server.
func (r *Redis) dial(ctx context.Context) (net.Conn, error) {
	conn, err := guardedDialer(r.cfg.Timeout).DialContext(ctx, "tcp", r.address)
	if err != nil {
		return nil, err
	}
	bounded := &boundedConn{Conn: conn, left: maxRedisReplies}
	if r.cfg.Insecure {
		return bounded, nil
	}
	secure, err := r.secure(ctx, bounded)
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("the TLS handshake: %w", err)
	}
	return secure, nil
}

func (r *Redis) secure(ctx context.Context, conn net.Conn) (net.Conn, error) {
	host, _, err := net.SplitHostPort(r.address)
	if err != nil {
		return nil, err
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	if r.cfg.CAFile != "" {
		pem, err := os.ReadFile(r.cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("reading ca_file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("ca_file holds no certificate in PEM")
		}
	}
	secure := tls.Client(conn, c)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return secure, nil
}

// boundedConn ends a session whose replies grow without end.
type boundedConn struct {
	net.Conn
	left int
}

// Read implements net.Conn.
func (c *boundedConn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, fmt.Errorf("%w: more than %d bytes in one session", ErrBodyTooLarge, maxRedisReplies)
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

// Read asks something that changes nothing. The answer is a string, an int64, a list ([]any) of such, or nil where there is none.
func (s *Session) Read(ctx context.Context, doing string, command ...any) (any, error) {
	return s.do(ctx, doing, false, command)
}

// Change makes a call that may take effect: without a clear answer its failure is ambiguous.
func (s *Session) Change(ctx context.Context, doing string, command ...any) (any, error) {
	return s.do(ctx, doing, true, command)
}

func (s *Session) do(ctx context.Context, doing string, mutates bool, command []any) (any, error) {
	answer, err := s.client.Do(ctx, command...).Result()
	switch {
	case errors.Is(err, goredis.Nil):
		return nil, nil
	case err != nil:
		return nil, redisError(ctx, doing, err, mutates, s.secret)
	}
	return answer, nil
}

// Info reads sections of the server's own account of itself (the command INFO): values by name, and of what is there several times a
// line each. Without sections it is the server's choice.
func (s *Session) Info(ctx context.Context, sections ...any) (map[string]string, error) {
	const doing = "reading the server's state"
	answer, err := s.Read(ctx, doing, append([]any{"INFO"}, sections...)...)
	if err != nil {
		return nil, err
	}
	text, ok := answer.(string)
	if !ok {
		return nil, redisError(ctx, doing, errors.New("the answer is no text"), false)
	}
	lines := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, found := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
		if found && !strings.HasPrefix(line, "#") {
			lines[name] = value
		}
	}
	if len(lines) == 0 {
		return nil, redisError(ctx, doing, errors.New("the answer tells nothing"), false)
	}
	return lines, nil
}
