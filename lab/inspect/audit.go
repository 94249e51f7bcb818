package inspect

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"natlab/lab/dataplane"
	"natlab/lab/realise"
	"natlab/lab/witness"
	"natlab/nat"
	"natlab/nat/audit"
	"natlab/nat/iptables"
	"natlab/nat/kubeproxy"
	"natlab/nat/nftables"
	"natlab/nat/view"
	"natlab/nat/xtables"
	"natlab/topology"
)

// Options choose what an audit is held against.
type Options struct {
	Backend dataplane.Backend // that kube-proxy writes with; "" where nobody knows
	Release string            // kube-proxy's; "" is the cluster's
	Tools   []view.Version    // versions of iptables in use on the nodes, beside those that are installed here
	// Lab: the node is a lab's. Where rules stand beside those of iptables-nft, a connection to a
	// Service is opened from it to see which of them a packet meets first: no kernel interface tells.
	Lab bool

	Note func(what string) // gets what the audit takes for granted; nil: nobody does

	addresses []netip.Addr // of the node's devices, for nodePortAddresses; in a lab the cluster names them all
}

// AuditMachine compares the machine that natlab runs on with what kube-proxy would have written for it, under the name
// of a node of the cluster. It changes nothing.
func AuditMachine(ctx context.Context, c topology.Cluster, node string, o Options) ([]audit.Finding, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("audit %s: %w", node, err)
	}
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			o.addresses = append(o.addresses, p.Addr().Unmap())
		}
	}
	return Audit(ctx, Here{}, c, node, o)
}

// Audit compares what a namespace holds with what kube-proxy would have written for a node of the cluster. IPv6 is
// looked at where the cluster has a Service with such an address. It changes nothing.
func Audit(ctx context.Context, ns dataplane.Namespace, c topology.Cluster, node string, o Options) ([]audit.Finding, error) {
	tools := append(installedTools(ctx), o.Tools...)
	conns, err := witness.Conns(ns, node)
	if err != nil {
		return nil, fmt.Errorf("audit %s: %w", node, err)
	}
	own, err := realise.SurveyOf(ns, audit.Settings())
	if err != nil {
		return nil, fmt.Errorf("audit %s: %w", node, err)
	}
	var found []audit.Finding
	for _, family := range o.families(c) {
		n := audit.Node{
			Cluster: c, Name: node, Backend: string(o.Backend), Conns: conns, Tools: tools,
			Sysctls: own.Namespace.Sysctls, Bridged: audit.Bridged(c, own.Namespace), Namespace: own.Namespace,
			Options: kubeproxy.Options{Release: o.Release, Family: family, NodeAddresses: o.addresses},
		}
		for _, b := range dataplane.Backends() {
			held, err := heldBy(ns, b, family)
			if err != nil {
				return nil, fmt.Errorf("audit %s: %w", node, err)
			}
			n.Held = append(n.Held, held)
		}
		if n.Native, err = nativeTables(ctx, ns, c, family); err != nil {
			return nil, fmt.Errorf("audit %s: %w", node, err)
		}
		if o.Lab && family == nat.IPv4 {
			if n.First, err = firstBackend(ctx, ns, c, o.Backend, n.Held); err != nil {
				return nil, fmt.Errorf("audit %s: %w", node, err)
			}
		}
		if what := o.infer(&n); what != "" && o.Note != nil {
			o.Note(what)
		}
		more, err := audit.Check(n)
		if err != nil {
			return nil, err
		}
		found = append(found, more...)
	}
	return found, nil
}

// infer takes over what the input leaves open; of a lab's nodes nothing is.
func (o Options) infer(n *audit.Node) string {
	if o.Lab {
		return ""
	}
	return n.Infer()
}

// nativeTables are nf_tables' own tables that packets of a family meet, kube-proxy's among them where it is in nftables mode, and without natlab's.
func nativeTables(ctx context.Context, ns dataplane.Namespace, c topology.Cluster, family nat.Family) (out nftables.Ruleset, err error) {
	there, err := dataplane.Foreign(ns)
	if err != nil {
		return nftables.Ruleset{}, err
	}
	for _, of := range []nftables.Family{nftables.FamilyOf(family), nftables.Inet} {
		has := func(line string) bool { return strings.HasPrefix(line, "nft table "+string(of)+" ") }
		if !slices.ContainsFunc(there, has) && (of == nftables.Inet || c.KubeProxy.Mode != topology.ModeNFTables) {
			continue
		}
		all, err := dataplane.NFTTables(ctx, ns, of)
		if err != nil {
			return nftables.Ruleset{}, err
		}
		all = all.Without(func(t *nftables.Table) bool {
			name := "nft table " + t.FullName()
			return !slices.ContainsFunc(there, func(line string) bool { return line == name || strings.HasPrefix(line, name+":") })
		})
		out.Tables = append(out.Tables, all.Tables...)
	}
	return out, nil
}

// families are those that the cluster's Services use, and of a lab those that it has.
func (o Options) families(c topology.Cluster) (out []nat.Family) {
	if o.Lab {
		for _, f := range c.Families() {
			out = append(out, nat.Family(f))
		}
		return out
	}
	for _, s := range c.Services {
		for _, ip := range s.ClusterIPs {
			if ip.Is6() {
				return []nat.Family{nat.IPv4, nat.IPv6}
			}
		}
	}
	return []nat.Family{nat.IPv4}
}

// heldBy reads a backend's rules. Tables that hold what is not iptables' are a finding and no error.
func heldBy(ns dataplane.Namespace, b dataplane.Backend, family nat.Family) (audit.Held, error) {
	held := audit.Held{Backend: string(b)}
	raw, err := Read(ns, b, family)
	if err == nil {
		held.Tables = raw.Tables
		held.Rules = raw.Ruleset(family)
	}
	if foreign := (*xtables.ForeignError)(nil); errors.As(err, &foreign) {
		held.Err = err
		return held, nil
	}
	return held, err
}

var toolVersion = regexp.MustCompile(`v(\d+\.\d+\.\d+)`)

// installedTools are the versions of the iptables programs of this machine, as far as they are there and natlab knows
// them.
func installedTools(ctx context.Context) []view.Version {
	text, err := dataplane.Version(ctx, dataplane.Legacy)
	if err != nil {
		return nil
	}
	m := toolVersion.FindStringSubmatch(text)
	if m == nil {
		return nil
	}
	v, err := view.ParseVersion(m[1])
	if err != nil {
		return nil
	}
	return []view.Version{v}
}

// probeTime bounds how long the answer to a probe is waited for: none is needed.
const probeTime = 300 * time.Millisecond

// firstBackend is which backend's nat chains a packet of a lab's node meets first, where both hold tables: the one
// that was registered last. What stands in a lab beside iptables-legacy came after it, and iptables-legacy registers
// once. Beside iptables-nft it may be either, so a connection to a Service is opened: iptables-legacy, whose policies
// count, has seen it only if it is first, as iptables-nft translates it.
func firstBackend(ctx context.Context, ns dataplane.Namespace, c topology.Cluster, own dataplane.Backend, held []audit.Held) (string, error) {
	seen, both := legacyPackets(held)
	if !both {
		return "", nil
	}
	if own != dataplane.NFT {
		return string(dataplane.NFT), nil
	}
	target, ok := probeTarget(c)
	if !ok {
		return "", nil
	}
	err := ns.Do(func() error {
		d := net.Dialer{Timeout: probeTime}
		conn, err := d.DialContext(ctx, "tcp4", target.String())
		if err != nil {
			return nil //nolint:nilerr // the rules may be such that nobody answers
		}
		return conn.Close()
	})
	if err != nil {
		return "", err
	}
	after, err := heldBy(ns, dataplane.Legacy, nat.IPv4)
	if err != nil {
		return "", err
	}
	if outputPackets(after.Rules) > seen {
		return string(dataplane.Legacy), nil
	}
	return string(dataplane.NFT), nil
}

// legacyPackets counts what iptables-legacy's nat table has seen in OUTPUT; both reports whether both backends hold
// tables that can be read.
func legacyPackets(held []audit.Held) (seen uint64, both bool) {
	for _, h := range held {
		if len(h.Rules.Tables) == 0 || h.Err != nil {
			return 0, false
		}
		if h.Backend == string(dataplane.Legacy) {
			seen = outputPackets(h.Rules)
		}
	}
	return seen, true
}

// outputPackets counts the packets that the nat table's OUTPUT chain has seen.
func outputPackets(rs iptables.Ruleset) uint64 {
	t, _ := rs.Table("nat")
	c, _ := t.Chain("OUTPUT")
	n := c.Packets
	for _, r := range c.Rules {
		n += r.Packets
	}
	return n
}

// probeTarget is a Service's TCP port that has an endpoint.
func probeTarget(c topology.Cluster) (netip.AddrPort, bool) {
	for _, s := range c.Services {
		for _, p := range s.Ports {
			for _, ip := range s.ClusterIPs {
				if ip.Is4() && p.Protocol == "TCP" && len(p.Endpoints) > 0 {
					return netip.AddrPortFrom(ip, p.Port), true
				}
			}
		}
	}
	return netip.AddrPort{}, false
}
