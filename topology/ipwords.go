package topology

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// parseDestination reads a network, an address, or "default", which is of the next hop's family and IPv4's without one.
func parseDestination(text string, six bool) (netip.Prefix, error) {
	if text == "default" && six {
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0), nil
	}
	if text == "default" {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0), nil
	}
	p, err := ParsePrefix(text)
	if err == nil && p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("destination %s has bits behind its length, which no kernel takes: want %s", text, p.Masked())
	}
	return p, err
}

// ParsePrefix reads an address, which is a network of one, or a network.
func ParsePrefix(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	return p, unreadable(text, err)
}

// unreadable is what is wrong with a word where an address should be: that whoever posted it took it out, where it looks so, else err.
func unreadable(text string, err error) error {
	switch {
	case err == nil:
	case text != "" && strings.Trim(text, ".\u2026[]") == "":
		return errors.New("lines were taken out of the text here, and the packet may be for one of them: want the whole text")
	case strings.ContainsAny(text, "xX*#<") && strings.ContainsAny(text, ".:>"):
		return errors.New("the address was made unreadable: put one in its place, such as one of 203.0.113.0/24, and the same in all that tells of the node")
	}
	return err
}

// parseAddress reads "eth0=192.168.1.10/24".
func parseAddress(text string) (Address, error) {
	dev, address, _ := strings.Cut(text, "=")
	prefix, err := netip.ParsePrefix(address)
	if err != nil || dev == "" {
		return Address{}, errors.New("want DEVICE=ADDRESS/LENGTH, such as eth0=192.168.1.10/24")
	}
	return Address{Device: dev, Prefix: prefix}, nil
}

// parseSysctl reads KEY=VALUE as sysctl(8) does, and as it prints it, with blanks around the sign: where a dot comes before any slash, dots are what the path has slashes for.
func parseSysctl(text string) (Sysctl, error) {
	key, value, ok := strings.Cut(text, "=")
	if key, value = strings.TrimSpace(key), strings.TrimSpace(value); !ok || key == "" {
		return Sysctl{}, errors.New("want KEY=VALUE, such as net.ipv4.conf.all.rp_filter=1")
	}
	if i := strings.IndexAny(key, "./"); i >= 0 && key[i] == '.' { // the dots of a device's name are slashes then
		key = strings.NewReplacer(".", "/", "/", ".").Replace(key)
	}
	return Sysctl{Key: key, Value: value}, nil
}

// NodeWords describe a node that is in no cluster, as ip(8) and sysctl(8) write it. A route, a sysctl or a rule may be many, a line each, as the
// programs print them.
type NodeWords struct {
	Links     []string // whole texts of ip link, ip addr and bridge link, with -d and -j or without
	Addresses []string // eth0=192.168.1.10/24
	Routes    []string // 10.1.0.0/16 via 10.0.0.1 dev eth0
	Sysctls   []string // net.ipv4.ip_forward=1: what is not the kernel's own; forwarding is on
	Rules     []string // rules of routing as ip rule prints them; none: the kernel's own
	Rules6    []string // those of IPv6

	// Whole: the links, routes and sysctls are all that the node has, as it prints them itself, so that the kernel's own routes are among
	// them. Else connected routes come of the addresses, a node of which nothing is told has a default route, and forwarding is on.
	Whole bool
}

// WordError is a word of NodeWords that could not be read.
type WordError struct {
	Kind string // "link", "address", "route", "rule" or "sysctl"
	Text string // the word; "" for a whole text of links
	Err  error
}

func (e *WordError) Error() string {
	if e.Text == "" {
		return fmt.Sprintf("%s: %v", e.Kind, e.Err)
	}
	return fmt.Sprintf("%s %q: %v", e.Kind, e.Text, e.Err)
}

// Unwrap is the reason.
func (e *WordError) Unwrap() error { return e.Err }

// Node is the node in words: its devices are those that the links, addresses and routes name, or eth0 with a default route. Notes are
// routes that it does not use, and why. An error is a *WordError.
func (w NodeWords) Node() (ns Namespace, notes []string, err error) {
	ns = Namespace{Name: "node", Member: "node", Kind: KindNode, Sysctls: []Sysctl{
		{Key: "net/ipv4/ip_forward", Value: "1"}, {Key: "net/ipv6/conf/all/forwarding", Value: "1"},
	}}
	if w.Whole {
		ns.Sysctls = nil
	}
	if w.Routes, err = inWords(w.Routes, routeJSON.words); err != nil {
		return Namespace{}, nil, &WordError{Kind: "route", Err: err}
	}
	for _, rules := range []*[]string{&w.Rules, &w.Rules6} {
		if *rules, err = inWords(*rules, ruleJSON.words); err != nil {
			return Namespace{}, nil, &WordError{Kind: "rule", Err: err}
		}
	}
	w.Routes, w.Sysctls, w.Rules, w.Rules6 = tableRoutes(linesOf(w.Routes)), linesOf(w.Sysctls), linesOf(w.Rules), linesOf(w.Rules6)
	told, err := ns.addLinks(w.Links)
	if err != nil {
		return Namespace{}, nil, &WordError{Kind: "link", Err: err}
	}
	if w.Whole {
		ns.Routes = nil
		for i := range ns.Addresses {
			ns.Addresses[i].NoRoute = true
		}
	}
	for _, note := range told {
		notes = append(notes, "link: "+note)
	}
	for _, text := range w.Addresses {
		a, err := parseAddress(text)
		if err != nil {
			return Namespace{}, nil, &WordError{"address", text, err}
		}
		ns.Addresses = append(ns.Addresses, a)
	}
	for _, text := range w.Sysctls {
		s, err := parseSysctl(text)
		if err != nil {
			return Namespace{}, nil, &WordError{"sysctl", text, err}
		}
		ns.Sysctls = append(ns.Sysctls, s)
	}
	if err := ns.addRules(w); err != nil {
		return Namespace{}, nil, err
	}
	unused, err := ns.addRoutes(w.Routes, w.Whole)
	if err != nil {
		return Namespace{}, nil, err
	}
	notes = append(notes, unused...)
	if !w.Whole && len(ns.Addresses)+len(w.Routes) == 0 {
		for _, any := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
			ns.Routes = append(ns.Routes, Route{Dst: netip.PrefixFrom(any, 0), Device: "eth0"})
		}
	}
	ns.nameDevices()
	return ns, notes, nil
}

// ipPrompt is a line with the command that printed the others: "root@node:~# ip route".
var ipPrompt = regexp.MustCompile(`[$#>%] *(sudo +)?(ip|route|netstat)\b( +\S|$)|^\[sudo\] |^[\w.@~:/-]+[$#>%] *$|^\[[^\]]*\] *[$#>%] *$`)

// linesOf are the lines of all texts. One that begins with a blank goes on with the line before it: a next hop.
func linesOf(texts []string) (out []string) {
	for _, text := range texts {
		first := true
		for line := range strings.Lines(text) {
			switch more := strings.TrimLeft(line, " \t") != line; {
			case strings.TrimSpace(line) == "", ipPrompt.MatchString(line):
			case more && !first:
				out[len(out)-1] += " " + strings.TrimSpace(line)
			default:
				out, first = append(out, strings.TrimRight(line, "\r\n")), false
			}
		}
	}
	return out
}

// addRules adds the rules of routing, where any are told.
func (n *Namespace) addRules(w NodeWords) error {
	for i, texts := range [][]string{w.Rules, w.Rules6} {
		for _, text := range texts {
			r, err := ParseRoutingRule(text, i == 1)
			if err != nil {
				return &WordError{"rule", text, err}
			}
			n.Rules = append(n.Rules, r)
		}
		if !w.Whole && len(texts) > 0 {
			n.Rules = append(n.Rules, n.kernelRules(i == 1)...)
		}
	}
	return nil
}

// kernelRules are the kernel's own rules of routing that a family's told ones lack: all where none of them leads to the table local, since ip rule
// always prints that one, and none otherwise (fib_default_rules_init).
func (n *Namespace) kernelRules(six bool) (out []RoutingRule) {
	if slices.ContainsFunc(n.Rules, func(r RoutingRule) bool { return r.Six == six && r.Table == "local" }) {
		return nil
	}
	for _, own := range KernelRules(six) {
		if !slices.ContainsFunc(n.Rules, func(r RoutingRule) bool { return r.Six == six && r.Priority == own.Priority }) {
			out = append(out, own)
		}
	}
	return out
}

// KernelRules are the rules of routing that a node of a family has before anybody sets one.
func KernelRules(six bool) []RoutingRule {
	return []RoutingRule{
		{Six: six, Table: "local", Suppress: -1}, {Six: six, Priority: 32766, Suppress: -1}, {Six: six, Priority: 32767, Table: "default", Suppress: -1},
	}
}

// opens makes the rules of routing open that lead to the table of a local route: what they are for comes to a process of the node, as a
// transparent proxy wants it.
func (n *Namespace) opens(r *routeWords) {
	for i := range n.Rules {
		rule := &n.Rules[i]
		if table := tableName(r.table); table != "local" && table != "" && rule.Action == RouteByTable && rule.Table == table && rule.Six == r.Dst.Addr().Is6() {
			rule.Open = "the local route of its table"
		}
	}
}

// opensVRF makes the rule of routing open that leads packets of a VRF's devices to its table, where a route is of a table that no other rule leads to:
// which devices are in the VRF is not modelled.
func (n *Namespace) opensVRF(r *routeWords) {
	table := tableName(r.table)
	if table == "" || table == "local" || table == "default" || n.asks(r) {
		return
	}
	for i := range n.Rules {
		if rule := &n.Rules[i]; rule.VRF && rule.Six == r.Dst.Addr().Is6() && rule.Open == "" {
			rule.Open = "the VRF of table " + table
		}
	}
}

// addRoutes adds those of the routes that the kernel would use, the lowest metric first, and tells of the
// others.
func (n *Namespace) addRoutes(texts []string, whole bool) (notes []string, err error) {
	told := make([]routeWords, len(texts))
	for i, text := range texts {
		if told[i], err = parseRoute(text); err != nil {
			return nil, &WordError{"route", text, err}
		}
	}
	if len(n.Addresses) == 0 && !whole {
		notes = n.inferAddresses(told)
	}
	var all []routeWords
	for i, text := range texts {
		r := told[i]
		if err := n.findDevices(&r); err != nil {
			return nil, &WordError{"route", text, err}
		}
		r.settle(func(hop *routeWords) bool { return !hop.linkdown || !n.ignoresLinkdown(hop) })
		if why := n.unused(&r); why != "" {
			notes = append(notes, fmt.Sprintf("route %q: %s", text, why))
			if r.own == "local" {
				n.opens(&r)
			}
			n.opensVRF(&r)
			if n.mayAsk(&r, whole) {
				n.Unruled = append(n.Unruled, r.Route)
			}
		} else if r.own == "" {
			all = append(all, r)
		}
	}
	slices.SortStableFunc(all, func(a, b routeWords) int { return cmp.Compare(a.metric, b.metric) })
	for _, r := range all {
		n.Routes = append(n.Routes, r.Route)
		for i := range r.hops {
			if hop := r.hops[i].Route; i > 0 {
				hop.Table = r.Table
				n.Others = append(n.Others, hop)
			}
		}
	}
	return notes, nil
}

// inferAddresses takes over the addresses that routes tell of, where nobody told any: those that the kernel made routes for, and preferred sources,
// which are the node's own (fib_valid_prefsrc). The routes of their networks are among what was told.
func (n *Namespace) inferAddresses(told []routeWords) (notes []string) {
	for pass := range 3 {
		for _, r := range told {
			a := r.Src
			if pass == 2 && r.own == "local" && r.Dst.IsSingleIP() {
				a = r.Dst.Addr()
			}
			near := pass > 0 || r.own == "" && r.Dst.Contains(a) && !r.Via.IsValid() // tells the network's length
			if !a.IsValid() || r.Device == "" || a.IsLoopback() || !near || slices.ContainsFunc(n.Addresses, func(o Address) bool { return o.Prefix.Addr() == a }) {
				continue
			}
			own := Address{Device: r.Device, Prefix: netip.PrefixFrom(a, a.BitLen()), NoRoute: true}
			if pass == 0 {
				own.Prefix = netip.PrefixFrom(a, r.Dst.Bits())
			}
			n.Addresses = append(n.Addresses, own)
			notes = append(notes, fmt.Sprintf("route: %s counts as an address of %s, by the routes that are told", own.Prefix, own.Device))
		}
	}
	return notes
}

// findDevices finds the device of a route and of each of its next hops where it is not told: that whose network the next hop is in.
func (n *Namespace) findDevices(r *routeWords) error {
	if r.Device == "" && r.Type == Unicast {
		if r.Device = n.deviceTowards(r.Via); r.Device == "" {
			return fmt.Errorf("no address of the node is in one network with %s: add dev DEVICE", r.Via)
		}
	}
	for i := range r.hops {
		if err := n.findDevices(&r.hops[i]); err != nil {
			return err
		}
	}
	return nil
}

// deviceTowards is the device whose network a next hop is in, "" where there is none.
func (n *Namespace) deviceTowards(via netip.Addr) string {
	for _, a := range n.Addresses {
		if a.Prefix.Masked().Contains(via) {
			return a.Device
		}
	}
	return ""
}

// Place makes a device lead to a network, by a route of its own.
func (n *Namespace) Place(device string, network netip.Prefix) {
	n.Routes = append(slices.Clip(n.Routes), Route{Dst: network, Device: device})
	n.Devices = slices.Clip(n.Devices)
	n.nameDevices()
}

// Leads reports whether an address or a route leads to an address, a default route left out.
func (n *Namespace) Leads(a netip.Addr) bool {
	return slices.ContainsFunc(n.Addresses, func(own Address) bool { return own.Prefix.Contains(a) }) ||
		slices.ContainsFunc(n.Routes, func(r Route) bool { return r.Dst.Bits() > 0 && r.Dst.Contains(a) })
}

// nameDevices adds the devices that the addresses and routes name.
func (n *Namespace) nameDevices() {
	var names []string
	for _, a := range n.Addresses {
		names = append(names, a.Device)
	}
	for _, r := range n.Routes {
		names = append(names, r.Device)
	}
	for _, name := range names {
		if name != "" && name != "lo" && !slices.ContainsFunc(n.Devices, func(d Device) bool { return d.Name == name }) {
			n.Devices = append(n.Devices, deviceNamed(name))
		}
	}
}
