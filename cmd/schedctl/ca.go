package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"longshore/internal/pki"
	"longshore/internal/placement"
	"longshore/rpc"
)

// caConfig is the command line of `schedctl ca`.
type caConfig struct {
	dir     string // the authority's
	cluster string
	hosts   []string
	out     string
	life    string
}

func (a *app) ca() *cobra.Command {
	var cfg caConfig
	cmd := &cobra.Command{
		Use:   "ca",
		Short: "Make the certificates that machines and people show to each other",
		Long: `A cluster has a private authority. What it signs says who somebody is: agent/n7 and
hostinfo/n7 are the processes of node n7, broadcaster/b1 is a broadcaster, operator/bob
may do everything, and user/alice may touch what alice owns.`,
		Example: `  schedctl ca init                                    once for a cluster
  schedctl ca issue broadcaster/b1 --out b1           ca.pem, cert.pem and key.pem for --tls-dir
  schedctl ca issue agent/n7 --out n7/agentd
  schedctl ca issue user/alice --out alice
  schedctl ca renew n7/agentd                         what its daemon could not renew by itself
  schedctl ca revoke agent/n7                         its certificates are not trusted any more`,
	}
	cmd.PersistentFlags().StringVar(&cfg.dir, "ca-dir", "/etc/longshore/ca", "the authority's directory; ca-key.pem in it is the cluster's great secret")
	cmd.AddCommand(a.caInit(&cfg), a.caIssue(&cfg), a.caRenew(&cfg), a.caRevoke(&cfg))
	return cmd
}

func (a *app) caInit(cfg *caConfig) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make the authority of a cluster, good for ten years",
		Long: `Init makes ca.pem and ca-key.pem. The cluster's ID is drawn at random: the ledger takes
it from the broadcaster's certificate when it is made. A cluster that runs already without
TLS keeps its own, which is in the file cluster of a node's state directory: --cluster ID.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.initCA(*cfg) },
	}
	cmd.Flags().StringVar(&cfg.cluster, "cluster", "", "ID of the cluster (default: a new one)")
	return cmd
}

func (a *app) initCA(cfg caConfig) error {
	if cfg.cluster == "" {
		id := make([]byte, 16)
		_, _ = rand.Read(id) // never fails
		cfg.cluster = hex.EncodeToString(id)
	}
	if len(cfg.cluster) != 32 || strings.Trim(cfg.cluster, "0123456789abcdef") != "" {
		return usage("the file cluster in the state directory of any node has it", "--cluster %.80q is no cluster's ID: it has 32 hexadecimal digits", cfg.cluster)
	}
	if _, err := pki.CreateAuthority(cfg.dir, cfg.cluster); err != nil {
		return err
	}
	a.made(map[string]string{"cluster": cfg.cluster, "dir": cfg.dir},
		"made the authority of cluster %s in %s; keep %s secret, and a copy of it\n", cfg.cluster, cfg.dir, pki.AuthorityKeyFile)
	return nil
}

func (a *app) caIssue(cfg *caConfig) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "issue ROLE/NAME",
		Short: "Make a key and a certificate for a daemon or a person",
		Long: `Issue writes ca.pem, cert.pem and key.pem into a directory, to be copied whole to where
it is used: --tls-dir of a daemon, ~/.config/longshore of a person. Roles are agent,
hostinfo, broadcaster, operator and user.`,
		Example: "  schedctl ca issue agent/n7 --out /etc/longshore/agentd",
		Args:    cobra.ExactArgs(1),
		RunE:    func(_ *cobra.Command, args []string) error { return a.issueCA(*cfg, args[0]) },
	}
	cmd.Flags().StringSliceVar(&cfg.hosts, "host", nil, "name or address that it is good for besides, for clients that are not ours; may be repeated")
	cmd.Flags().StringVar(&cfg.out, "out", "", "directory to write to (default: ROLE-NAME here)")
	cmd.Flags().StringVar(&cfg.life, "for", "90d", "time that it lives, such as 90d or 12h; daemons renew theirs in time")
	return cmd
}

func (a *app) issueCA(cfg caConfig, who string) error {
	authority, err := a.openCA(cfg)
	if err != nil {
		return err
	}
	id, err := pki.Parse(authority.Cluster, who)
	if err != nil {
		return err
	}
	life, err := parseLife(cfg.life)
	if err != nil {
		return err
	}
	if cfg.out == "" {
		cfg.out = strings.ReplaceAll(who, "/", "-")
	}
	if err := authority.IssueTo(cfg.out, id, cfg.hosts, life); err != nil {
		return err
	}
	return a.tellCertificate("made", cfg.out)
}

func (a *app) caRenew(cfg *caConfig) *cobra.Command {
	return &cobra.Command{
		Use:   "renew DIR",
		Short: "Renew the certificate in a directory, also one that has ended",
		Long: `Renew signs cert.pem in DIR once more, for the same name, key and time. Daemons that
use it need no restart. Where the authority's key is not, the broadcaster is asked, which
works only while the certificate has not ended. Only cert.pem is needed in DIR where the
key is: copy it there, renew it, copy it back.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.renewCA(cmd.Context(), *cfg, args[0]) },
	}
}

func (a *app) renewCA(ctx context.Context, cfg caConfig, dir string) error {
	authority, err := pki.OpenAuthority(cfg.dir)
	var renewed []byte
	switch {
	case errors.Is(err, fs.ErrNotExist):
		renewed, err = a.askRenewal(ctx, dir)
	case err == nil:
		cert, e := pki.Certificate(dir)
		if e != nil {
			return e
		}
		renewed, err = authority.Renew(cert)
	}
	if err != nil {
		return err
	}
	if err := pki.ReplaceCertificate(dir, renewed); err != nil {
		return err
	}
	return a.tellCertificate("renewed", dir)
}

// askRenewal has the broadcaster renew the certificate in dir, by a link that
// shows it.
func (a *app) askRenewal(ctx context.Context, dir string) ([]byte, error) {
	shown := *a
	shown.tlsDir = dir
	var cert string
	if err := shown.call(ctx, "certificate_renew", &cert); err != nil {
		return nil, err
	}
	return []byte(cert), nil
}

func (a *app) caRevoke(cfg *caConfig) *cobra.Command {
	return &cobra.Command{
		Use:   "revoke ROLE/NAME|SERIAL",
		Short: "Let nobody in by the certificates of a daemon or a person any more",
		Long: `Revoke adds a line to the file revoked beside the authority. ROLE/NAME means all of its
certificates up to now: one that is issued later is good. SERIAL, as openssl x509 -serial
tells it, means one alone, and not what it was renewed to. A broadcaster that has the
directory (--ca-dir) reads the file within a second, closes links, lets nobody in and renews
nothing by what is revoked; where the authority is on another machine copy the file into
that directory. Containers run on: a node without its agent or hostinfo goes silent. To take a word
back delete its line.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if _, err := a.openCA(*cfg); err != nil {
				return err
			}
			line, err := pki.Revoke(cfg.dir, args[0])
			if err != nil {
				return err
			}
			a.made(map[string]string{"revoked": line, "dir": cfg.dir}, "revoked, in %s: %s\n", filepath.Join(cfg.dir, pki.RevokedFile), line)
			return nil
		},
	}
}

func (a *app) openCA(cfg caConfig) (*pki.Authority, error) {
	authority, err := pki.OpenAuthority(cfg.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &placement.Error{
			Kind: placement.KindNotFound, What: "there is no authority in " + cfg.dir, Why: err.Error(),
			Next: "schedctl ca init makes one; or give --ca-dir",
		}
	}
	return authority, err
}

func (a *app) tellCertificate(done, dir string) error {
	cert, err := pki.Certificate(dir)
	if err != nil {
		return err
	}
	ends := cert.NotAfter.Local()
	a.made(map[string]string{"identity": cert.Subject.CommonName, "dir": dir, "ends": ends.Format(time.RFC3339)},
		"%s the certificate of %s in %s; it ends on %s\n", done, cert.Subject.CommonName, dir, ends.Format(time.DateTime))
	return nil
}

// made tells what was made, as JSON or as a line.
func (a *app) made(what map[string]string, line string, args ...any) {
	if a.json {
		a.object(what)
		return
	}
	fmt.Fprintf(a.stdout, line, args...)
}

// parseLife reads "90d", or what time.ParseDuration reads.
func parseLife(s string) (time.Duration, error) {
	days, rest := 0, ""
	if n, err := fmt.Sscanf(s, "%d%s", &days, &rest); err == nil && n == 2 && rest == "d" && days > 0 {
		return time.Duration(days) * 24 * time.Hour, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, usage("write 90d or 12h", "--for %s is no time to live", s)
	}
	return d, nil
}

// transport is the way to a broadcaster: with the certificate of whoever types,
// if the endpoint wants one.
func (a *app) transport(endpoint string) (rpc.Transport, error) {
	opts := rpc.ZMQOptions{AllowPlaintext: a.insecure}
	if strings.HasPrefix(endpoint, "tls://") {
		store, err := a.certificate()
		if err != nil {
			return nil, err
		}
		opts.TLS, opts.Subject = store.Config, store.Subject
	}
	return rpc.ZMQ(opts), nil
}
