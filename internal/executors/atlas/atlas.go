// Package atlas asks MongoDB Atlas how a cluster is, who may connect to it and what makes it slow, and restores recorded entries of its IP
// access list that have gone missing.
//
// The list of a project knows no version and no condition: whoever adds an entry that is there already overwrites it without being told.
// So the list is read again right before the one call, and an entry of another hand is never written over.
package atlas

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
)

// System is the prefix of the kinds, the name of the target's section, and that of the connection if the section names none.
const System = "atlas"

// defaultLasts is how long a restored entry stays where its record does not say.
const defaultLasts = 12 * time.Hour

func init() {
	executors.RegisterTarget(executors.TargetKind{
		Name: System,
		Doc:  "The MongoDB Atlas cluster that is the target, the addresses we come from, and the recorded entries of its IP access list.",
		New:  func() any { return &Cluster{} },
	})
}

// Cluster is the section `atlas` of a target.
type Cluster struct {
	// Connection is the entry under `connections` that leads to the cluster's project; default atlas.
	Connection string `yaml:"connection"`
	// Cluster is the cluster's name in Atlas.
	Cluster string `yaml:"cluster" rules:"required"`
	// AccessList are the recorded entries of the project's IP access list: those that should exist.
	AccessList []Entry `yaml:"access_list"`
	// Egress are the addresses or networks that our services connect from.
	Egress []string `yaml:"egress"`
}

// Entry is one recorded entry of the access list.
type Entry struct {
	// Entry is an address or a network in CIDR notation.
	Entry string `yaml:"entry" rules:"required"`
	// Comment says what the entry is for.
	Comment string `yaml:"comment"`
	// Lasts is how long the entry stays when it is restored; default 12h, at most 24h.
	Lasts time.Duration `yaml:"lasts"`
}

// Validate tells in plain words what is wrong with the section.
func (c *Cluster) Validate(executors.Target) error {
	if c.Cluster == "" || strings.ContainsAny(c.Cluster, "/\\*?% \t\n") {
		return errors.New("cluster must be the name of a cluster")
	}
	seen := map[netip.Prefix]bool{}
	for _, e := range c.AccessList {
		network, err := network(e.Entry)
		switch {
		case err != nil:
			return err
		case network.Bits() == 0:
			return fmt.Errorf("entry %s is the whole internet: that is never a recorded entry", e.Entry)
		case seen[network]:
			return fmt.Errorf("entry %s is recorded twice", e.Entry)
		case e.Lasts < 0:
			return fmt.Errorf("entry %s: lasts must not be negative", e.Entry)
		}
		seen[network] = true
	}
	for _, address := range c.Egress {
		if network, err := network(address); err != nil {
			return err
		} else if network.Bits() == 0 {
			return fmt.Errorf("egress %s is the whole internet", address)
		}
	}
	return nil
}

// Identity implements executors.Identified: atlas/PROJECT/CLUSTER.
func (c *Cluster) Identity(set connect.Set) string {
	project := ""
	if api, err := c.open(set); err == nil {
		project = api.Project
	}
	return strings.Join([]string{System, project, c.Cluster}, "/")
}

func (c *Cluster) open(set connect.Set) (*connect.Atlas, error) {
	name, _ := c.Connects()
	return connect.Get[*connect.Atlas](set, name)
}

// Connects implements executors.Connecting.
func (c *Cluster) Connects() (name, kind string) { return cmp.Or(c.Connection, System), System }

// recorded finds a recorded entry by its network.
func (c *Cluster) recorded(of netip.Prefix) (Entry, bool) {
	i := slices.IndexFunc(c.AccessList, func(e Entry) bool {
		n, err := network(e.Entry)
		return err == nil && n == of
	})
	if i < 0 {
		return Entry{}, false
	}
	return c.AccessList[i], true
}

// section finds the target's atlas section.
func section(t executors.Target) (*Cluster, error) {
	c, ok := t.Systems[System].(*Cluster)
	if !ok || c == nil {
		return nil, errors.New("the target needs a section atlas that names the cluster")
	}
	return c, nil
}

// open gives the target's section and its client.
func open(env executors.Env) (*Cluster, *connect.Atlas, error) {
	c, err := section(env.Target)
	if err != nil {
		return nil, nil, err
	}
	api, err := c.open(env.Connections)
	return c, api, err
}

// network reads an address or a network, without bits set beyond its prefix: such a text means something else than it says.
func network(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	switch {
	case err != nil || p.Addr().Is4In6():
		return netip.Prefix{}, fmt.Errorf("%q is no address and no network in CIDR notation", connect.Line(text, 60))
	case p != p.Masked():
		return netip.Prefix{}, fmt.Errorf("%s has bits set beyond its prefix; the network is %s", p, p.Masked())
	}
	return p, nil
}

// cluster is the cluster as the API shows it, in part (ClusterDescription20240805).
type cluster struct {
	Name    string `json:"name"`
	State   string `json:"stateName"`
	Paused  *bool  `json:"paused"`
	Version string `json:"mongoDBVersion"`
	Backup  *bool  `json:"backupEnabled"`
	Strings struct {
		Standard string `json:"standard"`
	} `json:"connectionStrings"`
	Specs []struct {
		Regions []struct {
			Electable struct {
				DiskGB float64 `json:"diskSizeGB"`
			} `json:"electableSpecs"`
		} `json:"regionConfigs"`
	} `json:"replicationSpecs"`
}

func (c *Cluster) read(ctx context.Context, api *connect.Atlas) (cluster, error) {
	var got cluster
	q := connect.Request{Doing: "reading cluster " + c.Cluster, Path: "/clusters/" + url.PathEscape(c.Cluster)}
	if err := api.Do(ctx, q, &got); err != nil {
		return cluster{}, err
	}
	if got.Name != c.Cluster || got.State == "" {
		return cluster{}, fmt.Errorf("reading cluster %s: the answer does not describe it", c.Cluster)
	}
	return got, nil
}

// hosts are those that the cluster's connection string names; none while it is paused.
func (c cluster) hosts() []string {
	_, rest, ok := strings.Cut(c.Strings.Standard, "://")
	if !ok {
		return nil
	}
	list, _, _ := strings.Cut(rest, "/")
	if _, after, userinfo := strings.Cut(list, "@"); userinfo {
		list = after
	}
	return slices.DeleteFunc(strings.Split(list, ","), func(h string) bool { return h == "" })
}

// process is one member as Atlas's monitoring sees it (ApiHostViewAtlas).
type process struct {
	ID       string    `json:"id"`
	Hostname string    `json:"hostname"`
	Port     int       `json:"port"`
	Alias    string    `json:"userAlias"`
	Set      string    `json:"replicaSetName"`
	Type     string    `json:"typeName"`
	Seen     time.Time `json:"lastPing"`
}

// members reads the processes of a cluster. Atlas lists those of the whole project and names the cluster of none: a member is known by the
// host under which the connection string names it.
func members(ctx context.Context, api *connect.Atlas, of cluster) ([]process, error) {
	all, err := connect.AtlasList[process](ctx, api, "listing the processes of cluster "+of.Name, "/processes", nil)
	if err != nil {
		return nil, err
	}
	hosts := of.hosts()
	return slices.DeleteFunc(all, func(p process) bool {
		return !slices.ContainsFunc([]string{p.Alias, p.Hostname}, func(h string) bool {
			return slices.Contains(hosts, fmt.Sprintf("%s:%d", h, p.Port))
		})
	}), nil
}
