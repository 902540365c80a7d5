package rules

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/mixillo/remediator/internal/sources"
)

// Bytes is a size. The rules file writes it as 1MiB, 512KiB or 100B.
type Bytes int64

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *Bytes) UnmarshalText(text []byte) error {
	for _, unit := range []struct {
		name string
		size int64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"B", 1}} {
		number, ok := strings.CutSuffix(string(text), unit.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil || n < 0 || n > math.MaxInt64/unit.size {
			break
		}
		*b = Bytes(n * unit.size)
		return nil
	}
	return errors.New("must be a size such as 1MiB or 512KiB")
}

// String is the size as the rules file writes it.
func (b Bytes) String() string {
	switch {
	case b >= 1<<20 && b%(1<<20) == 0:
		return fmt.Sprintf("%dMiB", b>>20)
	case b >= 1<<10 && b%(1<<10) == 0:
		return fmt.Sprintf("%dKiB", b>>10)
	default:
		return fmt.Sprintf("%dB", int64(b))
	}
}

// Rate is how many deliveries a second are taken, and how many at once before that counts.
type Rate struct {
	PerSecond int `yaml:"per_second" rules:"required"`
	Burst     int `yaml:"burst"` // 0: as many as in five seconds
}

// Intake bounds what is taken in, for the process. Whoever is over it is answered 503 and comes again, but for a body that is too large,
// which never can be taken (413), and what is out of the bounds of a delivery, which is stored and flagged (202). Times are real ones,
// whatever the world's speed.
type Intake struct {
	MaxBody Bytes `yaml:"max_body"` // of one delivery
	MaxHeld Bytes `yaml:"max_held"` // of all bodies that are in memory
	// InFlight is how many deliveries are worked on at once. One whose body is large counts for several: one for each 16 KiB.
	InFlight int           `yaml:"in_flight"`
	Patience time.Duration `yaml:"patience"` // how long a delivery waits for its turn
	Alerts   int           `yaml:"alerts"`   // of a delivery
	Labels   int           `yaml:"labels"`   // of an alert
	Label    Bytes         `yaml:"label_bytes"`
	Rate     Rate          `yaml:"rate"`       // of each source by itself
	Large    Rate          `yaml:"large_rate"` // of its deliveries above LargeBody
	// Connections over TCP at once, and those of them from one address (IPv6: one /64); 0: no bound for one address.
	Connections int `yaml:"connections"`
	PerAddress  int `yaml:"connections_per_address"`

	Timeouts `yaml:",inline"`

	sources map[string]sourceLimits
}

// Timeouts are those of a connection: fixed when the listener opens.
type Timeouts struct {
	ReadHeader time.Duration `yaml:"read_header_timeout"`
	Read       time.Duration `yaml:"read_timeout"` // of a request whole
	Write      time.Duration `yaml:"write_timeout"`
	Idle       time.Duration `yaml:"idle_timeout"`
}

// sourceLimits are those that a source may have of its own; what is zero is as for all.
type sourceLimits struct {
	MaxBody Bytes `yaml:"max_body"`
	Rate    Rate  `yaml:"rate"`
	Large   Rate  `yaml:"large_rate"`
}

// LargeBody is the size, in bytes, above which a delivery is a large one: it takes a processor and the disk for as long as a hundred others.
const LargeBody = 64 << 10

// DefaultIntake holds where the file says nothing. Within it a process stays below 256 MiB under attack (a connection holds up to 40 KiB), and
// takes a storm of 100,000 deliveries of one source in a minute.
func DefaultIntake() Intake {
	bounds := sources.DefaultBounds()
	return Intake{
		MaxBody: 1 << 20, MaxHeld: 32 << 20, InFlight: 256, Patience: time.Second,
		Alerts: bounds.Alerts, Labels: bounds.Labels, Label: Bytes(bounds.LabelBytes),
		Rate: Rate{PerSecond: 2_000, Burst: 10_000}, Large: Rate{PerSecond: 2, Burst: 60}, Connections: 2560, PerAddress: 512,
		Timeouts: Timeouts{ReadHeader: 5 * time.Second, Read: 10 * time.Second, Write: 30 * time.Second, Idle: time.Minute},
	}
}

// Bounds of a delivery.
func (i Intake) Bounds() sources.Bounds {
	return sources.Bounds{Alerts: i.Alerts, Labels: i.Labels, LabelBytes: int(i.Label)}
}

// BodyOf is how large a body of the source may be.
func (i Intake) BodyOf(source string) Bytes { return cmp.Or(i.sources[source].MaxBody, i.MaxBody) }

// RateOf is how many deliveries of the source are taken.
func (i Intake) RateOf(source string) Rate { return cmp.Or(i.sources[source].Rate, i.Rate) }

// LargeRateOf is how many large deliveries of the source are taken.
func (i Intake) LargeRateOf(source string) Rate { return cmp.Or(i.sources[source].Large, i.Large) }

// intakeRange is what one key of intake may say.
type intakeRange struct {
	key         string
	written     any
	value       int64
	least, most int64
}

func (i *Intake) ranges() []intakeRange {
	seconds := func(key string, d *time.Duration, most time.Duration) intakeRange {
		return intakeRange{key, d, int64(*d), int64(time.Second), int64(most)}
	}
	return []intakeRange{
		{"max_held", &i.MaxHeld, int64(i.MaxHeld), 4 << 20, 1 << 30},
		{"in_flight", &i.InFlight, int64(i.InFlight), 1, 4096},
		{"patience", &i.Patience, int64(i.Patience), 0, int64(4 * time.Second)}, // PagerDuty waits five seconds for an answer
		{"alerts", &i.Alerts, int64(i.Alerts), 1, sources.MostAlerts},
		{"labels", &i.Labels, int64(i.Labels), 1, sources.MostLabels},
		{"label_bytes", &i.Label, int64(i.Label), 16, sources.MostLabelBytes},
		{"connections", &i.Connections, int64(i.Connections), 16, 65536},
		{"connections_per_address", &i.PerAddress, int64(i.PerAddress), 0, int64(i.Connections)},
		seconds("read_header_timeout", &i.ReadHeader, time.Minute),
		seconds("read_timeout", &i.Read, 5*time.Minute),
		seconds("write_timeout", &i.Write, 5*time.Minute),
		seconds("idle_timeout", &i.Idle, 10*time.Minute),
	}
}

// intake reads the section of that name.
func (b *builder) intake(n *yaml.Node) {
	in := &b.set.Intake
	d := newDecoder(b.report, 1)
	if n != nil {
		d.into(n, in)
	}
	for _, r := range in.ranges() {
		b.inRange(d, r)
	}
	b.checkBody(d, &in.MaxBody)
	b.checkRate(d, &in.Rate)
	b.checkRate(d, &in.Large)
	if in.Read < in.ReadHeader && (d.wrote(&in.Read) || d.wrote(&in.ReadHeader)) {
		b.at(d.node(&in.Read, d.node(&in.ReadHeader, n)), mistake{id: "bad-value", message: "read_timeout must be at least read_header_timeout, which is a part of it"})
	}
}

// sourceLimits reads what a source says of its own.
func (b *builder) sourceLimits(name string, n *yaml.Node) {
	if n == nil {
		return
	}
	var own sourceLimits
	d := newDecoder(b.report, 1)
	d.into(n, &own)
	b.checkBody(d, &own.MaxBody)
	b.checkRate(d, &own.Rate)
	b.checkRate(d, &own.Large)
	if b.set.Intake.sources == nil {
		b.set.Intake.sources = map[string]sourceLimits{}
	}
	b.set.Intake.sources[name] = own
}

func (b *builder) inRange(d *decoder, r intakeRange) {
	if !d.wrote(r.written) || r.value >= r.least && r.value <= r.most {
		return
	}
	show := func(n int64) string {
		switch r.written.(type) {
		case *Bytes:
			return Bytes(n).String()
		case *time.Duration:
			return words(time.Duration(n))
		default:
			return strconv.FormatInt(n, 10)
		}
	}
	b.at(d.node(r.written, nil), mistake{id: "bad-value", message: fmt.Sprintf("%s must be from %s to %s", r.key, show(r.least), show(r.most))})
}

// checkBody wants a body that the memory for all of them has room for, beside others.
func (b *builder) checkBody(d *decoder, body *Bytes) {
	b.inRange(d, intakeRange{"max_body", body, int64(*body), 1 << 10, min(16<<20, int64(b.set.Intake.MaxHeld)/2)})
}

// checkRate fills in the burst.
func (b *builder) checkRate(d *decoder, r *Rate) {
	b.inRange(d, intakeRange{"per_second", &r.PerSecond, int64(r.PerSecond), 1, 100_000})
	b.inRange(d, intakeRange{"burst", &r.Burst, int64(r.Burst), 1, 1_000_000})
	if d.wrote(&r.PerSecond) && !d.wrote(&r.Burst) {
		r.Burst = 5 * r.PerSecond
	}
}
