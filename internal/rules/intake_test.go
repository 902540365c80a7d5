package rules

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mixillo/remediator/internal/sources"
)

func TestIntake(t *testing.T) {
	t.Parallel()
	with := func(change func(*Intake)) Intake {
		in := DefaultIntake()
		change(&in)
		return in
	}
	for written, want := range map[string]Intake{
		"":               DefaultIntake(),
		"intake: {}\n":   DefaultIntake(),
		"intake: null\n": DefaultIntake(),
		"intake: {max_body: 2MiB, max_held: 1GiB}\n": with(func(i *Intake) { i.MaxBody, i.MaxHeld = 2<<20, 1<<30 }),
		"intake: {in_flight: 8, patience: 0s, alerts: 1, labels: 256, label_bytes: 8KiB}\n": with(func(i *Intake) {
			i.InFlight, i.Patience, i.Alerts, i.Labels, i.Label = 8, 0, 1, 256, 8<<10
		}),
		"intake: {rate: {per_second: 10}}\n":           with(func(i *Intake) { i.Rate = Rate{PerSecond: 10, Burst: 50} }),
		"intake: {rate: {per_second: 10, burst: 1}}\n": with(func(i *Intake) { i.Rate = Rate{PerSecond: 10, Burst: 1} }),
		"intake: {large_rate: {per_second: 1}}\n":      with(func(i *Intake) { i.Large = Rate{PerSecond: 1, Burst: 5} }),
		"intake: {connections: 16, connections_per_address: 0, read_header_timeout: 1s, read_timeout: 2s, write_timeout: 3s, idle_timeout: 4s}\n": with(func(i *Intake) {
			i.Connections, i.PerAddress = 16, 0
			i.Timeouts = Timeouts{time.Second, 2 * time.Second, 3 * time.Second, 4 * time.Second}
		}),
	} {
		set, err := Load("r", []byte("version: 1\n"+written), Options{Speed: 120}) // the world's speed does not change what a socket may take
		if err != nil {
			t.Errorf("%s: %v", written, err)
			continue
		}
		if diff := cmp.Diff(want, set.Intake, cmpopts.EquateComparable(), cmp.AllowUnexported(Intake{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", written, diff)
		}
	}
}

// What a source says of its own holds for it alone.
func TestIntakeOfASource(t *testing.T) {
	t.Parallel()
	const text = "version: 1\nintake: {max_body: 512KiB, rate: {per_second: 100}}\nsources:\n" +
		"  loud: {kind: fake, signing_secret_file: x, limits: {rate: {per_second: 7}, large_rate: {per_second: 1}, max_body: 100B}}\n  fake: {signing_secret_file: x}\n"
	set, err := Load("r", []byte(strings.Replace(text, "100B", "2KiB", 1)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	in := set.Intake
	if in.BodyOf("loud") != 2<<10 || in.BodyOf("fake") != 512<<10 || (in.RateOf("loud") != Rate{7, 35}) || (in.RateOf("fake") != Rate{100, 500}) {
		t.Errorf("bodies %v and %v, rates %v and %v", in.BodyOf("loud"), in.BodyOf("fake"), in.RateOf("loud"), in.RateOf("fake"))
	}
	if (in.LargeRateOf("loud") != Rate{1, 5}) || in.LargeRateOf("fake") != DefaultIntake().Large {
		t.Errorf("rates of large ones %v and %v", in.LargeRateOf("loud"), in.LargeRateOf("fake"))
	}
	if _, err := Load("r", []byte(text), Options{}); err == nil || !strings.Contains(err.Error(), "r:4:117: bad-value: max_body must be from 1KiB to 16MiB") {
		t.Errorf("a body of 100 bytes: %v", err)
	}
}

func TestDefaultIntakeIsWhatTheFileMaySay(t *testing.T) {
	t.Parallel()
	in := DefaultIntake()
	for _, r := range in.ranges() {
		if r.value < r.least || r.value > r.most {
			t.Errorf("%s is %d by default, not from %d to %d", r.key, r.value, r.least, r.most)
		}
	}
	if in.Bounds() != sources.DefaultBounds() {
		t.Errorf("the bounds are %+v", in.Bounds())
	}
}

func TestBytes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Bytes{"0B": 0, "100B": 100, "1KiB": 1 << 10, "512KiB": 512 << 10, "3MiB": 3 << 20, "2GiB": 2 << 30} {
		var got Bytes
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%s is %d, %v", text, got, err)
		}
		var again Bytes
		if err := again.UnmarshalText([]byte(got.String())); err != nil || again != want {
			t.Errorf("%s is shown as %s", text, got)
		}
	}
	for _, text := range []string{"", "1", "1MB", "1 MiB", "-1MiB", "1.5MiB", "MiB", "9999999999GiB", "1mib", "0x1B"} {
		var got Bytes
		if got.UnmarshalText([]byte(text)) == nil {
			t.Errorf("%q was taken for %d", text, got)
		}
	}
}
