package connect

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// mongoPlace is a deployment whose hosts are known. Its fields are exported so that printing it hides them.
type mongoPlace struct {
	URI     Value // mongodb://, its hosts spelled out
	Hosts   []string
	Secrets []Value // what no error may show
}

// mongoResolver is what is needed of a *net.Resolver.
type mongoResolver interface {
	LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
	LookupTXT(ctx context.Context, name string) ([]string, error)
}

// mongoUnusable says what is wrong with the connection string. Nothing of it is repeated: any part may be one of the password.
func mongoUnusable(why string) error {
	return &mongoFailure{reason: MongoUnusable, text: "the connection string cannot be used: " + why}
}

// mongoText is a connection string in its parts.
type mongoText struct {
	srv             bool
	login           string // with its @; still escaped
	hosts, database string
	options         url.Values // names in lower case
}

func parseMongo(text string) (mongoText, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || scheme != "mongodb" && scheme != "mongodb+srv" {
		return mongoText{}, mongoUnusable("it must begin with mongodb:// or mongodb+srv://")
	}
	rest, query, _ := strings.Cut(rest, "?")
	authority, database, _ := strings.Cut(rest, "/")
	t := mongoText{srv: scheme == "mongodb+srv", hosts: authority, database: database, options: url.Values{}}
	if at := strings.LastIndex(authority, "@"); at >= 0 {
		t.login, t.hosts = authority[:at+1], authority[at+1:]
	}
	if t.hosts == "" || strings.ContainsAny(database, "/@") || strings.Contains(query, "@") { // or what follows is a part of the password
		return mongoText{}, mongoUnusable("user and password must be escaped and followed by @ and a host")
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return mongoText{}, mongoUnusable("its options cannot be read")
	}
	for name, v := range values {
		t.options[strings.ToLower(name)] = v
	}
	return t, nil
}

// password is the text's, escaped and not.
func (t mongoText) password() []Value {
	_, escaped, _ := strings.Cut(strings.TrimSuffix(t.login, "@"), ":")
	if escaped == "" {
		return nil
	}
	plain, err := url.PathUnescape(escaped)
	if err != nil {
		plain = escaped
	}
	return []Value{Value(escaped), Value(plain)}
}

// mongoKept are the options that are carried on; others speak of writes, pools and timeouts, which are ours to set.
var mongoKept = []string{
	"authsource", "authmechanism", "replicaset", "directconnection", "loadbalanced",
	"tls", "ssl", "tlscafile", "tlscertificatekeyfile", "tlscertificatekeyfilepassword",
}

// mongoMechanisms call nobody but the database: others fetch tokens elsewhere, or send the password itself.
var mongoMechanisms = []string{"", "SCRAM-SHA-1", "SCRAM-SHA-256", "MONGODB-X509"}

func (t mongoText) check(insecure bool) error {
	for name := range t.options {
		if (strings.HasPrefix(name, "tls") || strings.HasPrefix(name, "ssl")) && !slices.Contains(mongoKept, name) {
			return mongoUnusable("the option " + strconv.Quote(plainOption(name)) + " is not allowed: certificates are always checked")
		}
	}
	switch {
	case !slices.Contains(mongoMechanisms, t.options.Get("authmechanism")):
		return mongoUnusable("its authMechanism is none of SCRAM-SHA-256, SCRAM-SHA-1 and MONGODB-X509")
	case !t.tls() && !insecure:
		return mongoUnusable("a connection without TLS needs insecure: true")
	}
	return nil
}

// plainOption keeps what an option's name can hold.
func plainOption(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' {
			return r
		}
		return -1
	}, name)
}

func (t mongoText) tls() bool {
	for _, name := range []string{"tls", "ssl"} {
		if v := t.options.Get(name); v != "" {
			return v == "true"
		}
	}
	return t.srv
}

// text gives a mongodb:// string with the options that count.
func (t mongoText) text() string {
	kept := url.Values{}
	for _, name := range mongoKept {
		if v, ok := t.options[name]; ok {
			kept[name] = v
		}
	}
	return "mongodb://" + t.login + t.hosts + "/" + t.database + "?" + kept.Encode()
}

// settle reads the connection string and looks up what its name stands for, within the context's time.
func (m *Mongo) settle(ctx context.Context, uri Value) (mongoPlace, error) {
	place := mongoPlace{Secrets: []Value{uri}}
	t, err := parseMongo(uri.Reveal())
	if err != nil {
		return place, err
	}
	place.Secrets = append(place.Secrets, t.password()...)
	if err := t.check(m.cfg.Insecure); err != nil {
		return place, err
	}
	switch {
	case m.cfg.Endpoint != "":
		t.options.Set("tls", strconv.FormatBool(t.tls()))
		t.hosts = m.cfg.Endpoint
	case t.srv:
		if err := m.lookUp(ctx, &t); err != nil {
			return place, err
		}
	}
	for host := range strings.SplitSeq(t.hosts, ",") {
		if _, _, err := net.SplitHostPort(host); err != nil {
			host = net.JoinHostPort(plainHost(host), "27017")
		}
		place.Hosts = append(place.Hosts, host)
	}
	place.URI = Value(t.text())
	place.Secrets = append(place.Secrets, place.URI)
	return place, nil
}

// lookUp puts the hosts and options of the DNS records in the place of the name, as the specification says: hosts stay below the name's
// parent domain, a TXT record may set three options and the string overrides it
// (https://github.com/mongodb/specifications/blob/master/source/initial-dns-seedlist-discovery/initial-dns-seedlist-discovery.md).
func (m *Mongo) lookUp(ctx context.Context, t *mongoText) error {
	name := plainHost(t.hosts)
	if strings.ContainsAny(name, ",:") || strings.Count(name, ".") < 2 {
		return mongoUnusable("mongodb+srv:// needs one host name of three parts or more, without a port")
	}
	_, records, err := m.resolver.LookupSRV(ctx, "mongodb", "tcp", name)
	if err != nil {
		return fmt.Errorf("looking up the members of %s: %w", name, err)
	}
	_, parent, _ := strings.Cut(name, ".")
	var hosts []string
	for _, r := range records {
		host := plainHost(r.Target)
		if !strings.HasSuffix(host, "."+parent) {
			return fmt.Errorf("%w: the SRV record of %s names a host of another domain", ErrHostRefused, name)
		}
		hosts = append(hosts, net.JoinHostPort(host, strconv.Itoa(int(r.Port))))
	}
	if len(hosts) == 0 {
		return fmt.Errorf("looking up the members of %s: %w", name, &net.DNSError{Err: "no SRV record", Name: name, IsNotFound: true})
	}
	t.hosts = strings.Join(hosts, ",")
	t.options.Set("tls", strconv.FormatBool(t.tls()))
	return m.lookUpOptions(ctx, name, t.options)
}

func (m *Mongo) lookUpOptions(ctx context.Context, name string, into url.Values) error {
	records, err := m.resolver.LookupTXT(ctx, name)
	var missing *net.DNSError
	switch {
	case errors.As(err, &missing) && missing.IsNotFound:
		return nil
	case err != nil:
		return fmt.Errorf("looking up the options of %s: %w", name, err)
	case len(records) > 1:
		return mongoUnusable("its name has several TXT records")
	}
	for _, record := range records {
		given, err := url.ParseQuery(record)
		if err != nil {
			return mongoUnusable("the TXT record of its name cannot be read")
		}
		for option, v := range given {
			option = strings.ToLower(option)
			if !slices.Contains([]string{"authsource", "replicaset", "loadbalanced"}, option) {
				return mongoUnusable("the TXT record of its name sets what it must not")
			}
			if !into.Has(option) {
				into[option] = v
			}
		}
	}
	return nil
}
