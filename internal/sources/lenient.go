package sources

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
)

// looseText is a text that some senders write as a number or true; null is "".
type looseText string

// UnmarshalJSON implements json.Unmarshaler.
func (t *looseText) UnmarshalJSON(b []byte) error {
	switch b[0] {
	case '{', '[':
		return errors.New("an object or a list stands where a text should")
	case '"':
		return json.Unmarshal(b, (*string)(t))
	case 'n':
		*t = ""
	default:
		*t = looseText(b)
	}
	return nil
}

// epochTime is a moment in seconds since 1970, as a number or a text; null and 0 are the zero time. It is UTC, and exact to a microsecond.
type epochTime struct{ time.Time }

// maxEpoch is the end of the year 9999 in seconds.
const maxEpoch = 253402300799

// UnmarshalJSON implements json.Unmarshaler.
func (e *epochTime) UnmarshalJSON(b []byte) error {
	var text looseText
	if err := text.UnmarshalJSON(b); err != nil {
		return err
	}
	if text == "" {
		return nil
	}
	seconds, err := strconv.ParseFloat(string(text), 64)
	if err != nil || math.IsNaN(seconds) || seconds < 0 || seconds > maxEpoch {
		return fmt.Errorf("%q is no time in seconds since 1970", clip(string(text)))
	}
	if seconds > 0 {
		e.Time = time.UnixMicro(int64(math.Round(seconds * 1e6))).UTC()
	}
	return nil
}

// setLabel leaves out an empty value: for Prometheus a label with an empty value is one that is not there.
func setLabel[T ~string](labels map[string]string, name string, value T) {
	if value != "" {
		labels[name] = string(value)
	}
}

// carries refuses a made-up alert that lacks one of the wanted labels, because its sender has no place for it.
func carries(sender string, wanted, got map[string]string) error {
	for name, value := range wanted {
		if got[name] != value {
			return fmt.Errorf("%s has no place for the label %s=%q", sender, clip(name), clip(value))
		}
	}
	return nil
}
