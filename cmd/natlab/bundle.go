package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/bundle"
	"natlab/nat/conntrack"
	"natlab/nat/diagnosis"
	"natlab/nat/gateway"
	"natlab/nat/nftables"
	"natlab/topology"
	"natlab/topology/dump"
)

// bundleName takes --bundle FILE or NODE=FILE apart. A name in front that is a folder's or has a slash is a part of the file's.
func bundleName(text string) (name, file string) {
	if before, after, ok := strings.Cut(text, "="); ok && !strings.Contains(before, "/") {
		return before, after
	}
	return "", text
}

// readBundle reads --bundle FILE or NODE=FILE.
func (p *program) readBundle(text string) (*bundle.Node, error) {
	name, file := bundleName(text)
	r, err := p.reader(file)
	if err != nil {
		return nil, err
	}
	defer r.Close() //nolint:errcheck // it was only read
	n, err := bundle.Read(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	for _, note := range n.Notes {
		p.logf("%s: %s", file, note)
	}
	if name != "" {
		n.Name, n.Namespace.Name, n.Namespace.Member = name, name, name
	}
	return n, nil
}

// bundleText is a file's text, out of what it was packed in.
func (p *program) bundleText(file string) ([]byte, error) {
	r, err := p.reader(file)
	if err != nil {
		return nil, err
	}
	defer r.Close() //nolint:errcheck // it was only read
	text, err := dump.Unwrap(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	b, err := io.ReadAll(io.LimitReader(text, dump.MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return b, nil
}

// oneCase is the node that packets are followed through, with its rules by family.
type oneCase struct {
	diagnosis.Case
	node *bundle.Node // nil: it is of no bundle, or other rules than its own count
}

// ofFamily is the case with the rules that count for its packet.
func (c oneCase) ofFamily() diagnosis.Case {
	if c.node != nil {
		own := c.node.Case(c.Ask)
		c.Rules, c.Backends, c.Facts.OrderOpen = own.Rules, own.Backends, own.Facts.OrderOpen
	}
	return c.Case
}

// oneNode is the node that the flags name or describe.
func (p *program) oneNode(e *explainFlags) (c oneCase, err error) {
	var facts gateway.Facts
	switch {
	case len(e.bundle) > 1:
		return c, errors.New("--bundle: a packet is followed through one node: give its bundle alone, or --from with the cluster")
	case len(e.bundle) == 1 && !e.node.alone():
		return c, errors.New("--node takes the node from the cluster, and --bundle from the node itself: leave one out")
	case len(e.bundle) == 1:
		if c, err = p.bundleCase(e.bundle[0], &e.node); err != nil {
			return c, err
		}
		facts = c.Facts
	default:
		if c.Namespace, c.Rules, err = p.place(&e.in, &e.node); err != nil {
			return c, err
		}
	}
	if c.Facts, err = p.facts(&e.node, c.Namespace); err != nil {
		return c, err
	}
	if len(e.bundle) == 1 {
		facts.Kernel = cmpKernel(c.Facts.Kernel, facts.Kernel)
		sets := maps.Clone(facts.Sets)
		if sets == nil {
			sets = c.Facts.Sets
		}
		maps.Copy(sets, c.Facts.Sets)
		facts.Sets = sets
		c.Facts = facts
	}
	if err := p.remembered(e, &c.Facts); err != nil {
		return c, err
	}
	if len(e.rules) > 0 {
		c.Rules, c.node, c.Facts.NFT = nil, nil, nftables.Ruleset{}
	}
	c.RulesOpen = len(e.rules) > 0
	for _, file := range e.rules {
		kept, err := p.anyRules(file)
		if err != nil {
			return c, err
		}
		c.Rules = append(c.Rules, kept.rules...)
		c.Facts.NFT = c.Facts.NFT.And(kept.native)
		for _, other := range kept.beside {
			if len(e.rules) == 1 { // of several, one may be what the other tells of
				c.Doubts = append(c.Doubts, diagnosis.Doubt{What: "what the rules do with it that " + other + " prints, which the node has beside these"})
			}
		}
	}
	c.RoutesOpen = e.node.alone() && len(e.bundle) == 0
	if c.RoutesOpen {
		c.Facts.Untold = untold(&c.Namespace)
	}
	if c.RoutesOpen && len(e.node.links) == 0 {
		c.Facts.Unplaced = unplacedNative(c.Namespace, c.Facts.NFT, p.placeDevices(&c.Namespace, c.Rules))
	}
	return c, nil
}

// remembered takes over connections and sockets that the flags tell, in place of what a bundle has of these.
func (p *program) remembered(e *explainFlags, f *gateway.Facts) error {
	var conns []conntrack.Conn
	var sockets []gateway.Socket
	read := func(file string, take func(text string) error) error {
		r, err := p.reader(file)
		if err != nil {
			return err
		}
		defer r.Close() //nolint:errcheck // it was only read
		text, err := io.ReadAll(r)
		if err == nil {
			err = take(string(text))
		}
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		return nil
	}
	for _, file := range e.conns {
		if err := read(file, func(text string) error {
			more, err := conntrack.ParseEntries(text)
			conns = append(conns, more...)
			return err
		}); err != nil {
			return err
		}
	}
	for _, file := range e.socks {
		if err := read(file, func(text string) error {
			more, err := bundle.ParseSockets(text)
			sockets = append(sockets, more...)
			return err
		}); err != nil {
			return err
		}
	}
	if len(e.conns) > 0 {
		f.Entries = conns
	}
	if len(e.socks) > 0 {
		f.Sockets = append([]gateway.Socket{}, sockets...)
	}
	return nil
}

// untold are the settings of which a node in words has none, and that programs set on many nodes: kube-proxy the one for loopback's addresses, and
// distributions that of the way back.
func untold(ns *topology.Namespace) (out []topology.Sysctl) {
	for _, s := range []topology.Sysctl{{Key: "net/ipv4/conf/all/route_localnet", Value: "1"}, {Key: "net/ipv4/conf/all/rp_filter", Value: "1"}} {
		if !slices.ContainsFunc(ns.Sysctls, func(told topology.Sysctl) bool { return path.Base(told.Key) == path.Base(s.Key) }) {
			out = append(out, s)
		}
	}
	return out
}

// cmpKernel is the kernel that a flag tells, or else the bundle's.
func cmpKernel(flag, own nat.Kernel) nat.Kernel {
	if flag != (nat.Kernel{}) {
		return flag
	}
	return own
}

// bundleCase is a bundle's node. Options in words take the place of what the bundle has of their kind; a sysctl that of the same one.
func (p *program) bundleCase(text string, n *nodeFlags) (oneCase, error) {
	node, err := p.readBundle(text)
	if err != nil {
		return oneCase{}, err
	}
	if n.inWords() {
		ns, err := p.namespace(n)
		if err != nil {
			return oneCase{}, err
		}
		if len(n.links)+len(n.addresses) > 0 {
			node.Namespace.Devices, node.Namespace.Addresses, node.Facts.NoAddresses = ns.Devices, ns.Addresses, false
		}
		if len(n.routes) > 0 {
			node.Namespace.Routes = ns.Routes
		}
		if len(n.rules) > 0 {
			node.Namespace.Rules = ns.Rules
		}
		own := len(ns.Sysctls) - len(n.sysctls) // what a node in words has anyway
		node.Namespace.Sysctls = append(node.Namespace.Sysctls, ns.Sysctls[own:]...)
	}
	return oneCase{node: node, Case: diagnosis.Case{Namespace: node.Namespace, Facts: node.Facts, Doubts: node.Doubts, VirtualTold: node.VirtualTold}}, nil
}

// diffBundles compares two bundles; done is false where neither file is one.
func (p *program) diffBundles(files []string, format string) (done bool, err error) {
	var all [2]dump.Bundle
	are := 0
	for i, file := range files {
		if file == "-" {
			continue // what is read from it would be gone
		}
		text, err := p.bundleText(file)
		if err != nil {
			return true, err
		}
		if !dump.Is(string(text)) {
			continue
		}
		are++
		if all[i], err = dump.Read(bytes.NewReader(text)); err != nil {
			return true, fmt.Errorf("%s: %w", file, err)
		}
	}
	switch are {
	case 0:
		return false, nil
	case 1:
		return true, errors.New("one of A and B is a bundle, and the other is not: want two bundles, or two rule sets with --bundle for the node")
	}
	changes, untold, err := bundle.Changes(all[0], all[1])
	if err != nil {
		return true, fmt.Errorf("diff: %w", err)
	}
	for _, what := range untold {
		p.logf("%s", what)
	}
	if err := p.printChanges(changes, format); err != nil {
		return true, err
	}
	if len(changes) > 0 {
		return true, errDiffers
	}
	return true, nil
}

func (p *program) printChanges(changes []bundle.Change, format string) error {
	if format == "json" {
		if changes == nil {
			changes = []bundle.Change{}
		}
		return writeJSON(p.out, changes)
	}
	var b strings.Builder
	heading := ""
	for _, c := range changes {
		if h := strings.TrimSpace(c.Kind + " " + c.Where); h != heading {
			heading = h
			fmt.Fprintf(&b, "%s\n", h)
		}
		if c.A != "" {
			fmt.Fprintf(&b, "  - %s\n", c.A)
		}
		if c.B != "" {
			fmt.Fprintf(&b, "  + %s\n", c.B)
		}
	}
	fmt.Fprintf(&b, "%s\n", plural(len(changes), "change"))
	_, err := io.WriteString(p.out, printable(b.String()))
	return err
}
