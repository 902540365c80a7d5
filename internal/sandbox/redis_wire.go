package sandbox

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// redisWire is one connection that speaks RESP, Redis's protocol (https://redis.io/docs/latest/develop/reference/protocol-spec/).
type redisWire struct {
	io.ReadWriteCloser
	in *bufio.Reader
}

func newRedisWire(conn io.ReadWriteCloser) *redisWire {
	return &redisWire{ReadWriteCloser: conn, in: bufio.NewReader(conn)}
}

// frame reads one command or reply as it was sent, nested ones included, and the words in it.
func (w *redisWire) frame() (raw []byte, words []string, err error) {
	line, err := w.in.ReadString('\n')
	if err != nil {
		return nil, nil, err
	}
	raw, text := []byte(line), strings.TrimRight(line[1:], "\r\n")
	switch line[0] {
	case '$', '=', '!':
		return w.bulk(raw, text)
	case '*', '~', '>', '%':
		n, err := strconv.Atoi(text)
		for range max(n*pick(line[0] == '%', 2, 1), 0) {
			if err != nil {
				break
			}
			var part []byte
			var inner []string
			part, inner, err = w.frame()
			raw, words = append(raw, part...), append(words, inner...)
		}
		return raw, words, err
	default:
		return raw, []string{text}, nil
	}
}

func (w *redisWire) bulk(raw []byte, length string) ([]byte, []string, error) {
	n, err := strconv.Atoi(length)
	if err != nil || n < 0 {
		return raw, nil, err
	}
	body := make([]byte, n+2)
	_, err = io.ReadFull(w.in, body)
	return append(raw, body...), []string{string(body[:n])}, err
}

// ask sends a command and reads its reply.
func (w *redisWire) ask(command ...string) ([]string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(command))
	for _, word := range command {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(word), word)
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return nil, fmt.Errorf("asking redis: %w", err)
	}
	raw, words, err := w.frame()
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the answer of redis: %w", err)
	case raw[0] == '-':
		return nil, fmt.Errorf("redis: %s", strings.Join(words, " "))
	}
	return words, nil
}
