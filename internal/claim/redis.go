package claim

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"longshore/internal/placement"
)

//go:embed acquire.lua
var acquireLua string

//go:embed release.lua
var releaseLua string

// DefaultTTL is how long a claim lasts that is not renewed.
const DefaultTTL = 15 * time.Second

// Bounds of one call, whatever its context allows.
const (
	dialTimeout = 500 * time.Millisecond
	callTimeout = 2 * time.Second
	poolSize    = 4
)

// Config says where the claims of a cluster are.
type Config struct {
	// URL of the server: "unix:///run/redis.sock", "redis://:secret@host:6379/0"
	// or "rediss://..." for TLS. More seeds are added as "?addr=host:port":
	// then it is a Redis Cluster, or with "master_name=NAME" the sentinels of
	// that name.
	URL string
	// Cluster is the cluster's ID; clusters may share a server.
	Cluster string
	// TTL is how long a claim lasts that is not renewed; 0 means [DefaultTTL].
	TTL time.Duration
}

// Redis keeps claims in a Redis server. It holds no state of its own beyond
// connections; a server that is away makes every call fail fast, and one that
// comes back is used again without a restart.
type Redis struct {
	client           redis.UniversalClient
	cluster          string
	ttl              time.Duration
	acquire, release *redis.Script
}

// NewRedis prepares a client. It does not connect: an error is always one of
// the configuration.
//
// go-redis can log to one place per process only, and does so to stderr by
// itself; since this package alone may import it, NewRedis turns that off.
// Every failure is returned by the call that met it.
func NewRedis(cfg Config) (*Redis, error) {
	opts, err := options(cfg.URL)
	if err != nil {
		return nil, err
	}
	ttl, err := checkTTL(cfg.TTL)
	if err != nil {
		return nil, err
	}
	redis.SetLogger(silent{})
	return &Redis{
		client:  redis.NewUniversalClient(opts),
		cluster: cfg.Cluster,
		ttl:     ttl,
		acquire: redis.NewScript(acquireLua),
		release: redis.NewScript(releaseLua),
	}, nil
}

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// options reads a Redis URL. Calls are never retried here: a caller that gets
// an error goes on without the claim, or asks again when it next would.
func options(address string) (*redis.UniversalOptions, error) {
	bad := func(err error) error {
		return &placement.Error{
			Kind: placement.KindInvalid,
			What: "the address of Redis is not valid",
			Why:  err.Error(),
			Next: "write it as redis://HOST:6379 or unix:///PATH/redis.sock",
		}
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, bad(errors.New("it is not a URL")) // the error would quote a password
	}
	q := u.Query()
	seeds, master := q["addr"], q.Get("master_name")
	q.Del("addr")
	q.Del("master_name")
	u.RawQuery = q.Encode()
	one, err := redis.ParseURL(u.String())
	if err != nil {
		return nil, bad(err)
	}
	return &redis.UniversalOptions{
		Addrs:      append([]string{one.Addr}, seeds...),
		MasterName: master,
		Username:   one.Username,
		Password:   one.Password,
		DB:         one.DB,
		TLSConfig:  one.TLSConfig,

		ContextTimeoutEnabled: true,
		MaxRetries:            -1,
		DialTimeout:           dialTimeout,
		DialerRetries:         1,
		ReadTimeout:           callTimeout,
		WriteTimeout:          callTimeout,
		PoolTimeout:           callTimeout,
		PoolSize:              poolSize,
		DisableIdentity:       true,
		MaintNotificationsConfig: &maintnotifications.Config{
			Mode: maintnotifications.ModeDisabled,
		},
	}, nil
}

// checkTTL refuses what PEXPIRE would take for "at once".
func checkTTL(ttl time.Duration) (time.Duration, error) {
	switch {
	case ttl == 0:
		return DefaultTTL, nil
	case ttl < time.Millisecond:
		return 0, &placement.Error{
			Kind: placement.KindInvalid,
			What: fmt.Sprintf("a claim cannot last %v", ttl),
			Why:  "the shortest time to live is 1ms",
			Next: "leave it at 15s",
		}
	}
	return ttl, nil
}

// check refuses words that would be compared wrongly for ever after.
func check(id placement.ID, e placement.Epoch, node placement.NodeID) error {
	if !e.Valid() {
		return &placement.Error{Kind: placement.KindInvalid, What: fmt.Sprintf("%q is not an epoch", e)}
	}
	if id == "" || node == "" {
		return &placement.Error{Kind: placement.KindInvalid, What: "a claim needs a placement and a node"}
	}
	return nil
}

// Acquire asks for the claim on id at epoch e for node, and renews it when node
// has it already. ok tells whether it was granted; if not, holder is the node
// that has it. An error says that nothing is known: the claim may have been
// granted, and will then end by itself. It is safe to repeat.
func (r *Redis) Acquire(ctx context.Context, id placement.ID, e placement.Epoch, node placement.NodeID) (holder placement.NodeID, ok bool, err error) {
	if err := check(id, e, node); err != nil {
		return "", false, err
	}
	reply, err := r.acquire.Run(ctx, r.client, []string{key(r.cluster, id)}, string(e), string(node), r.ttl.Milliseconds()).Slice()
	if err != nil {
		return "", false, failed(ctx, "acquire the claim", id, err)
	}
	if len(reply) == 2 {
		granted, isNumber := reply[0].(int64)
		name, isText := reply[1].(string)
		if isNumber && isText {
			return placement.NodeID(name), granted == 1, nil
		}
	}
	return "", false, fmt.Errorf("acquire the claim on %s: unexpected reply %v", id, reply)
}

// Release ends the claim on id if node has it at exactly epoch e, and does
// nothing otherwise. It is safe to repeat.
func (r *Redis) Release(ctx context.Context, id placement.ID, e placement.Epoch, node placement.NodeID) error {
	if err := check(id, e, node); err != nil {
		return err
	}
	err := r.release.Run(ctx, r.client, []string{key(r.cluster, id)}, string(e), string(node)).Err()
	if err != nil {
		return failed(ctx, "release the claim", id, err)
	}
	return nil
}

// Ping asks the server whether it lives.
func (r *Redis) Ping(ctx context.Context) error {
	if err := r.client.Ping(ctx).Err(); err != nil {
		return fmt.Errorf("ping Redis: %w", errors.Join(err, ctx.Err()))
	}
	return nil
}

// Close closes the connections. Calls fail afterwards; closing twice is an
// error without effect.
func (r *Redis) Close() error { return r.client.Close() }

// failed wraps err. go-redis reports a passed deadline as a timeout of the
// network, a moment before the context does; the context's word goes with it,
// for errors.Is.
func failed(ctx context.Context, verb string, id placement.ID, err error) error {
	cause := ctx.Err()
	if deadline, has := ctx.Deadline(); cause == nil && has && !time.Now().Before(deadline) {
		cause = context.DeadlineExceeded
	}
	if cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%s on %s: %w (%w)", verb, id, cause, err)
	}
	return fmt.Errorf("%s on %s: %w", verb, id, err)
}
