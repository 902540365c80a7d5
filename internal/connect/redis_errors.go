package connect

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"

	goredis "github.com/redis/go-redis/v9"
)

// busyReplies begin the errors by which a server says that it cannot serve now: nothing took effect, and it passes by itself. The words are
// those of Redis's shared.c and networking.c.
var busyReplies = []string{"LOADING ", "BUSY ", "TRYAGAIN ", "MASTERDOWN ", "CLUSTERDOWN ", "ERR max number of clients reached"}

// redisError wraps what a session's call came to. An error that the server has answered with proves that the call took no effect.
func redisError(ctx context.Context, doing string, err error, mutates bool, secrets ...Value) error {
	var said goredis.Error
	answered := errors.As(err, &said)
	if answered {
		err = errors.New(Line(hide(said.Error(), secrets...), gistMost))
	}
	err = redact(withContext(ctx, err), secrets...)
	if answered && isBusy(said.Error()) {
		return &RateLimited{System: systemRedis, RetryAfter: defaultRetryAfter, Err: fmt.Errorf("%s: %w", doing, err)}
	}
	return &CallError{System: systemRedis, Doing: doing, Err: err, ambiguous: mutates && !answered, permanent: errors.Is(err, ErrHostRefused)}
}

func isBusy(reply string) bool {
	for _, words := range busyReplies {
		if strings.HasPrefix(reply, words) {
			return true
		}
	}
	return false
}

// RedisConflict is the error of a change whose precondition no longer held: the server was asked, and did nothing.
func RedisConflict(doing, why string) error {
	return &CallError{System: systemRedis, Doing: doing, Status: http.StatusConflict, Err: errors.New(why)}
}

// RedisUnclear is the error of a change whose answer cannot be understood: it may have taken effect.
func RedisUnclear(doing, why string) error {
	return &CallError{System: systemRedis, Doing: doing, Err: errors.New(why), ambiguous: true}
}

// IsRedisDown reports whether an error of a session means that the server does not serve: it refuses or breaks connections, gives no
// answer in time, or says that it cannot serve now. A name that does not resolve, a certificate that we do not trust, a wrong password or
// an answer that is not Redis's say nothing of that.
func IsRedisDown(err error) bool {
	var (
		limited *RateLimited
		name    *net.DNSError
		cert    *tls.CertificateVerificationError
		dial    *net.OpError
		late    net.Error
	)
	switch {
	case errors.As(err, &limited):
		return true
	case errors.Is(err, ErrHostRefused), errors.As(err, &name), errors.As(err, &cert), errors.Is(err, context.Canceled):
		return false
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &late) && late.Timeout():
		return true
	}
	broken := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
	return broken || errors.As(err, &dial) && dial.Op == "dial"
}
