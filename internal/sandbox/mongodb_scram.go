package sandbox

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
)

// scramIterations is the least that MongoDB's drivers accept.
const scramIterations = 4096

// scramSecret is what a server keeps of a password (RFC 5802, with SHA-256 as in RFC 7677).
type scramSecret struct {
	salt              []byte
	stored, serverKey []byte
}

func newScramSecret(password string, salt []byte) scramSecret {
	salted, err := pbkdf2.Key(sha256.New, password, salt, scramIterations, sha256.Size)
	if err != nil {
		return scramSecret{salt: salt} // nobody can log in
	}
	stored := sha256.Sum256(hmacOf(salted, "Client Key"))
	return scramSecret{salt: salt, stored: stored[:], serverKey: hmacOf(salted, "Server Key")}
}

func hmacOf(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	_, _ = h.Write([]byte(text))
	return h.Sum(nil)
}

// scram is one conversation of a connection.
type scram struct {
	user, nonce          string
	clientFirst, replied string
}

// first answers the client's first message.
func (s *scram) first(secret scramSecret, message, nonce string) (string, error) {
	bare, ok := strings.CutPrefix(message, "n,,")
	fields := scramFields(bare)
	if !ok || fields["n"] == "" || fields["r"] == "" {
		return "", fmt.Errorf("the first message is malformed")
	}
	s.user, s.nonce, s.clientFirst = fields["n"], fields["r"]+nonce, bare
	s.replied = fmt.Sprintf("r=%s,s=%s,i=%d", s.nonce, base64.StdEncoding.EncodeToString(secret.salt), scramIterations)
	return s.replied, nil
}

// final judges the client's proof.
func (s *scram) final(secret scramSecret, message string) (string, error) {
	fields := scramFields(message)
	bare, _, _ := strings.Cut(message, ",p=")
	proof, err := base64.StdEncoding.DecodeString(fields["p"])
	if err != nil || len(proof) != sha256.Size || fields["r"] != s.nonce || s.nonce == "" || len(secret.stored) == 0 {
		return "", fmt.Errorf("the proof is malformed")
	}
	talk := s.clientFirst + "," + s.replied + "," + bare
	signature := hmacOf(secret.stored, talk)
	for i := range proof {
		proof[i] ^= signature[i]
	}
	if key := sha256.Sum256(proof); s.user != MongoUser || !hmac.Equal(key[:], secret.stored) {
		return "", fmt.Errorf("the proof is wrong")
	}
	return "v=" + base64.StdEncoding.EncodeToString(hmacOf(secret.serverKey, talk)), nil
}

func scramFields(message string) map[string]string {
	fields := map[string]string{}
	for part := range strings.SplitSeq(message, ",") {
		if name, value, ok := strings.Cut(part, "="); ok {
			fields[name] = value
		}
	}
	return fields
}
