package sandbox

import "time"

// Health is what a revision's code does when it is asked.
type Health string

// The kinds of health a revision can have.
const (
	Healthy    Health = "healthy"     // /health answers 200
	Sick503    Health = "sick"        // it starts, but /health and all requests answer 503
	NeverReady Health = "never_ready" // its container never starts, so it reports no metrics at all
	Slow       Health = "slow"        // /health answers 200, but late
)

// Revision scripts one revision. Times "ago" are wall clock, not divided by Speed.
type Revision struct {
	Name              string        `json:"name,omitempty"` // short; default SERVICE-0000N-xyz
	CreatedAgo        time.Duration `json:"created_ago,omitempty"`
	Health            Health        `json:"health,omitempty"`       // of its image; default Healthy
	ServedFrom        time.Duration `json:"served_from,omitempty"`  // ago; default CreatedAgo
	ServedUntil       time.Duration `json:"served_until,omitempty"` // ago; default until the next Ready one was created
	NoTraffic         bool          `json:"no_traffic,omitempty"`   // it never served (a deploy: it is not routed)
	Percent           int32         `json:"percent,omitempty"`      // its share now, in a history with a split
	Tag               string        `json:"tag,omitempty"`
	RequestsPerMinute float64       `json:"requests_per_minute,omitempty"` // while it served in the past; default the service's load
	// TagRequestsPerMinute reached it by its tag's own address until now, beside what it carried.
	TagRequestsPerMinute float64           `json:"tag_requests_per_minute,omitempty"`
	ErrorRatio           float64           `json:"error_ratio,omitempty"` // share of 5xx; default 0, or 1 if sick
	P50                  time.Duration     `json:"p50,omitempty"`         // unloaded; default 80 ms, Slow 1.2 s
	P95                  time.Duration     `json:"p95,omitempty"`         // unloaded; default 250 ms, Slow 2.5 s
	Image                string            `json:"image,omitempty"`       // with digest; default a new one
	Env                  map[string]string `json:"env,omitempty"`
	Labels               map[string]string `json:"labels,omitempty"`
	Annotations          map[string]string `json:"annotations,omitempty"`
	MinInstances         int32             `json:"min_instances,omitempty"`
	MaxInstances         int32             `json:"max_instances,omitempty"`
	DeployTime           time.Duration     `json:"deploy_time,omitempty"` // divided by Speed; a deploy stays reconciling that long; default at once
}

// Service scripts a Cloud Run service with its history, oldest first.
type Service struct {
	Name              string            `json:"name"`
	Revisions         []Revision        `json:"revisions,omitempty"`           // default one healthy, 24 h old
	Pinned            bool              `json:"pinned,omitempty"`              // traffic names its revision instead of LATEST
	RequestsPerMinute float64           `json:"requests_per_minute,omitempty"` // load; default 600, negative for none
	Capacity          float64           `json:"capacity,omitempty"`            // requests per minute one instance serves well; default 600
	AutoInstances     int32             `json:"auto_instances,omitempty"`      // what the autoscaler reaches by itself; default 2
	Memory            float64           `json:"memory,omitempty"`              // share of each instance's memory in use; default 0.4
	MinInstances      int32             `json:"min_instances,omitempty"`       // service level
	MaxInstances      int32             `json:"max_instances,omitempty"`       // service level
	Labels            map[string]string `json:"labels,omitempty"`
	Annotations       map[string]string `json:"annotations,omitempty"`
	ServiceAccount    string            `json:"service_account,omitempty"`
	// DependencyDownFor is for how long the database has been down that all revisions share; 0: it is up.
	DependencyDownFor time.Duration `json:"dependency_down_for,omitempty"`
}

func (s Service) withDefaults(project string) Service {
	if len(s.Revisions) == 0 {
		s.Revisions = []Revision{{CreatedAgo: 24 * time.Hour}}
	}
	if s.RequestsPerMinute == 0 {
		s.RequestsPerMinute = 600
	}
	s.RequestsPerMinute = max(s.RequestsPerMinute, 0)
	if s.Capacity == 0 {
		s.Capacity = 600
	}
	if s.AutoInstances == 0 {
		s.AutoInstances = 2
	}
	if s.Memory == 0 {
		s.Memory = 0.4
	}
	if s.ServiceAccount == "" {
		s.ServiceAccount = s.Name + "@" + project + ".iam.gserviceaccount.com"
	}
	return s
}

func (r Revision) withDefaults() Revision {
	if r.Health == "" {
		r.Health = Healthy
	}
	if r.Health == Sick503 && r.ErrorRatio == 0 {
		r.ErrorRatio = 1
	}
	if r.P50 == 0 {
		r.P50 = pick(r.Health == Slow, 1200*time.Millisecond, 80*time.Millisecond)
	}
	if r.P95 == 0 {
		r.P95 = max(pick(r.Health == Slow, 2500*time.Millisecond, 250*time.Millisecond), r.P50)
	}
	return r
}

func pick[T any](yes bool, a, b T) T {
	if yes {
		return a
	}
	return b
}

// Share is one target of Split. Percent 0 with a Tag keeps a tagged URL only.
type Share struct {
	Revision string `json:"revision,omitempty"` // short name; "" is LATEST
	Percent  int32  `json:"percent"`
	Tag      string `json:"tag,omitempty"`
}
