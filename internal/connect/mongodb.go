package connect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
)

const (
	systemMongo = "mongodb"
	// MongoAppName is how the database tells our own operations from those of others.
	MongoAppName = "remediator"
	// mongoTimeout is the default of MongoConfig.Timeout. It stays below the 10 s that a rule gives a probe, so that a dead database is
	// found dead before the asking is called off.
	mongoTimeout = 5 * time.Second
	// mongoFarewell bounds the closing of a client, beyond the question's own time.
	mongoFarewell = 500 * time.Millisecond
	mongoBatch    = 200 // documents
)

// MongoPreference says which members of a replica set may answer.
type MongoPreference string

// Primary asks the primary alone. PrimaryPreferred asks a secondary where there is no primary.
const (
	MongoPrimary          MongoPreference = "primary"
	MongoPrimaryPreferred MongoPreference = "primary_preferred"
	MongoSecondary        MongoPreference = "secondary_preferred"
)

// Values lists what may be written in a rules file.
func (MongoPreference) Values() []string {
	return []string{string(MongoPrimary), string(MongoPrimaryPreferred), string(MongoSecondary)}
}

// MongoConfig is the connection `mongodb`. It only reads: the user needs the role clusterMonitor on admin, and `find` on system.profile of
// the databases whose slow queries are asked for.
type MongoConfig struct {
	// URI is the connection string with user and password, mongodb:// or mongodb+srv://; it is read anew for each question. Of its options
	// only those of TLS, authentication and topology count.
	URI Secret `yaml:"uri" rules:"required"`
	// Endpoint is the host:port of a stand-in, reached instead of the hosts in the URI; no name is looked up then.
	Endpoint string `yaml:"endpoint"`
	// Hosts may be reached beside those of the URI (or of its SRV record): members that the replica set names by other names.
	Hosts []string `yaml:"hosts"`
	// ReadPreference is primary_preferred, the default, primary or secondary_preferred.
	ReadPreference MongoPreference `yaml:"read_preference"`
	// Timeout of one question, from connecting to the last answer; default 5s.
	Timeout time.Duration `yaml:"timeout"`
	// Insecure allows a connection without TLS.
	Insecure bool `yaml:"insecure"`
}

func init() {
	Register(ConnectionKind{
		Name: systemMongo,
		Doc:  "A MongoDB deployment, such as an Atlas cluster, as a user who only reads its state.",
		New:  func() Config { return &MongoConfig{} },
	})
}

// Check implements Config.
func (c *MongoConfig) Check() error {
	switch {
	case c.URI.IsZero():
		return errors.New("mongodb: uri is not set")
	case c.ReadPreference != "" && !slices.Contains(c.ReadPreference.Values(), string(c.ReadPreference)):
		return errors.New("mongodb: read_preference must be primary, primary_preferred or secondary_preferred")
	case c.Timeout < 0:
		return errors.New("mongodb: timeout must not be negative")
	case c.Endpoint != "":
		_, port, err := net.SplitHostPort(c.Endpoint)
		if _, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil {
			return errors.New("mongodb: endpoint must be host:port")
		}
	}
	return nil
}

// Open implements Config.
func (c *MongoConfig) Open(context.Context) (io.Closer, error) { return NewMongo(*c) }

// Mongo asks one MongoDB deployment. It holds no connection between questions: each opens its own, so that the answer speaks of the
// database as it can be reached now, a rotated password counts at once, and nothing runs in the background. Nothing is retried. Safe for
// concurrent use.
type Mongo struct {
	cfg      MongoConfig
	resolver mongoResolver
}

// NewMongo checks the configuration. It reads no secret and calls nothing.
func NewMongo(c MongoConfig) (*Mongo, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	if c.Timeout == 0 {
		c.Timeout = mongoTimeout
	}
	if c.ReadPreference == "" {
		c.ReadPreference = MongoPrimaryPreferred
	}
	return &Mongo{cfg: c, resolver: net.DefaultResolver}, nil
}

// Close does nothing: there is nothing left open.
func (*Mongo) Close() error { return nil }

// MongoAsk is one question to a deployment.
type MongoAsk struct {
	Doing          string          // for errors: "reading the server's status"
	Timeout        time.Duration   // of all of it; 0 means the connection's
	ReadPreference MongoPreference // "" means the connection's
}

// Ask connects, lets use ask what it wants, and closes the connection whatever happens. What use returns is told as a *CallError or a
// *RateLimited whose text shows no secret; MongoReasonOf tells why. The members are as they were last seen, on an error too.
func (m *Mongo) Ask(ctx context.Context, q MongoAsk, use func(context.Context, *MongoSession) error) ([]MongoMember, error) {
	if q.Timeout <= 0 {
		q.Timeout = m.cfg.Timeout
	}
	within, cancel := context.WithTimeout(ctx, q.Timeout)
	defer cancel()
	seen := newMongoMembers()
	secrets, err := m.session(within, q, seen, use)
	if err != nil {
		err = mongoFailed(ctx, q.Doing, err, seen, secrets)
	}
	return seen.list(), err
}

func (m *Mongo) session(ctx context.Context, q MongoAsk, seen *mongoMembers, use func(context.Context, *MongoSession) error) ([]Value, error) {
	uri, err := m.cfg.URI.Read()
	if err != nil {
		return nil, err
	}
	place, err := m.settle(ctx, uri)
	if err != nil {
		return place.Secrets, err
	}
	prefer := q.ReadPreference
	if prefer == "" {
		prefer = m.cfg.ReadPreference
	}
	client, err := mongo.Connect(m.options(place, prefer, q.Timeout, seen))
	if err != nil {
		return place.Secrets, mongoUnusable("the driver refuses it")
	}
	defer disconnect(ctx, client)
	return place.Secrets, use(ctx, &MongoSession{client: client, prefer: readPreference(prefer)})
}

// disconnect ends the client's connections and goroutines, also where the question has no time left.
func disconnect(ctx context.Context, client *mongo.Client) {
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), mongoFarewell)
	defer cancel()
	if ctx.Err() != nil {
		cancel() // nobody who did not answer is told good-bye
	}
	_ = client.Disconnect(bounded) // what it could not say to the server ends with the connection
}

func readPreference(p MongoPreference) *readpref.ReadPref {
	switch p {
	case MongoPrimary:
		return readpref.Primary()
	case MongoSecondary:
		return readpref.SecondaryPreferred()
	default:
		return readpref.PrimaryPreferred()
	}
}

// options are the driver's. The address it was given names hosts alone, so that parsing it looks nothing up.
func (m *Mongo) options(place mongoPlace, prefer MongoPreference, timeout time.Duration, seen *mongoMembers) *options.ClientOptions {
	return options.Client().ApplyURI(place.URI.Reveal()).
		SetAppName(MongoAppName).
		SetDialer(&mongoDialer{hosts: newHostList(append(place.Hosts, m.cfg.Hosts...))}).
		SetConnectTimeout(timeout).
		SetServerSelectionTimeout(timeout).
		SetTimeout(timeout).
		SetReadPreference(readPreference(prefer)).
		SetRetryReads(false).
		SetRetryWrites(false).
		SetMaxAdaptiveRetries(0).
		SetMaxPoolSize(2).
		SetServerMonitoringMode(options.ServerMonitoringModePoll).
		SetServerMonitor(&event.ServerMonitor{
			TopologyDescriptionChanged: seen.changed,
			ServerHeartbeatFailed:      seen.failed,
		}).
		SetDisableOCSPEndpointCheck(true) // it would call hosts that a certificate names
}

// mongoDialer reaches the hosts of the deployment alone, and no metadata address whatever a name resolves to.
type mongoDialer struct{ hosts hostList }

// DialContext implements options.ContextDialer.
func (d *mongoDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil || network != "tcp" {
		return nil, fmt.Errorf("%w: %s is no host and port", ErrHostRefused, address)
	}
	host = plainHost(host)
	if isMetadataName(host) || !d.hosts[host] && !d.hosts[net.JoinHostPort(host, port)] {
		return nil, fmt.Errorf("%w: %s is not among the hosts of the deployment", ErrHostRefused, address)
	}
	return guardedDialer(connectTimeout).DialContext(ctx, network, address)
}

// MongoSession asks one deployment over one connection.
type MongoSession struct {
	client *mongo.Client
	prefer *readpref.ReadPref
}

// mongoReads are the commands that a session sends. All of them only read; which arguments they may have is readsOnly's.
var mongoReads = []string{"ping", "hello", "serverStatus", "profile", "aggregate", "find"}

// readsOnly refuses whatever could change something, before it is sent: a database is never changed by automation.
func readsOnly(command bson.D) error {
	if len(command) == 0 || !slices.Contains(mongoReads, command[0].Key) {
		return errMongoWrites
	}
	switch command[0].Key {
	case "profile":
		if command[0].Value != -1 {
			return errMongoWrites
		}
	case "aggregate":
		if command[0].Value != 1 { // of no collection: $out and $merge need one
			return errMongoWrites
		}
	}
	return nil
}

var errMongoWrites = errors.New("only commands that read are sent")

// Run sends one command and decodes its answer into out, unless that is nil.
func (s *MongoSession) Run(ctx context.Context, database string, command bson.D, out any) error {
	if err := readsOnly(command); err != nil {
		return err
	}
	result := s.client.Database(database).RunCommand(ctx, command, options.RunCmd().SetReadPreference(s.prefer))
	if out == nil {
		return result.Err()
	}
	return result.Decode(out)
}

// All sends a command that answers with a cursor and reads at most so many documents of it.
func (s *MongoSession) All(ctx context.Context, database string, command bson.D, most int) ([]bson.Raw, error) {
	if err := readsOnly(command); err != nil {
		return nil, err
	}
	cursor, err := s.client.Database(database).RunCommandCursor(ctx, command, options.RunCmd().SetReadPreference(s.prefer))
	if err != nil {
		return nil, err
	}
	defer func() { _ = cursor.Close(ctx) }()
	cursor.SetBatchSize(mongoBatch)
	var all []bson.Raw
	for len(all) < most && cursor.Next(ctx) {
		all = append(all, slices.Clone(cursor.Current))
	}
	return all, cursor.Err()
}
