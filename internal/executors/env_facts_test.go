package executors_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/executors"
)

type sampleFact struct {
	Text   string         `cel:"text"`
	Ratio  float64        `cel:"ratio"`
	Took   time.Duration  `cel:"took"`
	At     time.Time      `cel:"at"`
	Names  []string       `cel:"names"`
	JSON   map[string]any `cel:"json"`
	Absent int64          `cel:"absent"`
	hidden string         //nolint:unused // shows that a field without a tag is no field of the fact
}

func TestScalar(t *testing.T) {
	t.Parallel()
	env := executors.Env{
		Facts: map[string]any{
			"a": &sampleFact{
				Text: "up\x00\x1b\u202e", Ratio: 0.5, Took: 90 * time.Second, At: time.Unix(0, 0), Names: []string{"x"},
				JSON: map[string]any{"version": "v2", "db": map[string]any{"up": true}},
			},
			"nan": &sampleFact{Ratio: math.NaN(), Text: strings.Repeat("é", 2000)}, "none": nil,
		},
		Unknown: map[string][]string{"a": {"absent"}},
	}
	for path, want := range map[string]any{
		"a.text": "up", "a.ratio": 0.5, "a.took": "1m30s", "a.at": "1970-01-01T00:00:00Z", "a.json.version": "v2", "a.json.db.up": true,
		"nan.text": strings.Repeat("é", 999) + "…",
		"a.absent": nil, "a.names": nil, "a.json": nil, "a.json.db": nil, "a.json.no": nil, "a.text.x": nil, "a.hidden": nil, "a": nil, "a.": nil,
		"b.text": nil, "nan.ratio": nil, "nan.at": nil, "none.text": nil, "": nil,
	} {
		got, err := env.Scalar(path)
		if got != want || (err == nil) != (want != nil) {
			t.Errorf("%q: got %v, %v, want %v", path, got, err, want)
		}
	}
}
