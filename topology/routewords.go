package topology

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// routeWords are a route as ip(8) prints it, with what decides whether and before which others the kernel uses it.
type routeWords struct {
	Route
	own      string       // "local", "broadcast", "anycast" or "multicast": the kernel makes it of an address
	table    string       // "" for main
	metric   uint32       // of several routes to one destination the lowest is used
	foreign  bool         // the next hop is of the other family ("via inet6")
	linkdown bool         // the device has no carrier
	dead     bool         // the device is down
	object   string       // the next hop, or the group of them, as an object of its own (ip nexthop)
	hops     []routeWords // where it has several next hops, the route by each: which one a flow takes is by a hash (fib_select_multipath)
}

// What stands behind a destination without a value, and with one, and does not decide where a packet goes.
var (
	routeFlags = []string{"offload", "trap", "rt_offload", "rt_trap", "offload_failed", "pervasive", "notify", "unresolved", "cache", "rt_offload_failed"}
	routeFacts = []string{
		"proto", "scope", "mtu", "pref", "expires", "error", "advmss", "initcwnd", "initrwnd", "cwnd", "window", "ssthresh", "rtt", "rttvar",
		"rto_min", "hoplimit", "quickack", "congctl", "features", "reordering", "fastopen_no_cookie", "ttl-propagate", "weight", "realm", "realms", "users", "age",
	}
)

// parseRoute reads a route as ip(8) prints it: "default via 10.0.0.1 dev eth0 src 10.0.0.2 metric 100", "blackhole 10.1.0.0/16". What
// does not decide where a packet goes is passed over. A route without a device has a Via.
func parseRoute(text string) (routeWords, error) {
	var r routeWords
	words := strings.Fields(text)
	if len(words) > 0 {
		if slices.Contains([]string{"local", "broadcast", "anycast", "multicast"}, words[0]) {
			r.own, words = words[0], words[1:]
		} else if r.Type.UnmarshalText([]byte(words[0])) == nil {
			words = words[1:]
		}
	}
	if len(words) == 0 {
		return routeWords{}, errors.New("want a destination, such as 10.244.1.0/24, and via ADDRESS or dev DEVICE")
	}
	head, hops := nextHops(words[1:])
	if err := r.readAll(head); err != nil {
		return routeWords{}, err
	}
	if err := r.readHops(hops); err != nil {
		return routeWords{}, err
	}
	var err error
	six := r.Via.Is6() != r.foreign || slices.Contains(words, "pref") // which is of IPv6 alone
	if r.Dst, err = parseDestination(words[0], six); err != nil {
		return routeWords{}, err
	}
	if r.Type != Unicast {
		r.Device = "" // ip(8) prints lo for such a route of IPv6
	} else if r.Device == "" && !r.Via.IsValid() {
		return routeWords{}, r.nowhere()
	}
	for i := range r.hops {
		r.hops[i].Dst = r.Dst
	}
	return r, nil
}

// nowhere is the error of a route that leads nowhere.
func (r *routeWords) nowhere() error {
	if r.object != "" {
		return fmt.Errorf("nhid %s: give the route with what ip nexthop show id %s prints, via ADDRESS and dev DEVICE", r.object, r.object)
	}
	return errors.New("want via ADDRESS or dev DEVICE")
}

// nextHops parts what is told of a route from what is told of each of its next hops.
func nextHops(words []string) (head []string, hops [][]string) {
	for i, word := range slices.Backward(words) {
		if word == "nexthop" {
			hops, words = append(hops, words[i+1:]), words[:i]
		}
	}
	slices.Reverse(hops)
	return words, hops
}

func (r *routeWords) readAll(words []string) error {
	for len(words) > 0 {
		n, err := r.read(words)
		if err != nil {
			return err
		}
		words = words[n:]
	}
	return nil
}

// readHops reads the next hops of a route that has several. The route is by the first that is there, and hops are those that are.
func (r *routeWords) readHops(all [][]string) error {
	if len(all) > 0 && (r.Via.IsValid() || r.Device != "") {
		return errors.New("nexthop: the route has a next hop in front of it: want one of the two")
	}
	for _, words := range all {
		hop := *r
		if len(words) == 0 {
			return errors.New("nexthop is not followed by anything")
		}
		if err := hop.readAll(words); err != nil {
			return fmt.Errorf("nexthop: %w", err)
		}
		if !hop.Via.IsValid() && hop.Device == "" {
			return errors.New("nexthop: want via ADDRESS or dev DEVICE")
		}
		r.hops = append(r.hops, hop)
	}
	r.settle(func(hop *routeWords) bool { return !hop.dead })
	return nil
}

// settle keeps those next hops that are there, and makes the route one by the first of them; where none is, all are kept.
func (r *routeWords) settle(there func(*routeWords) bool) {
	var up []routeWords
	for i := range r.hops {
		if there(&r.hops[i]) {
			up = append(up, r.hops[i])
		}
	}
	if len(up) == 0 {
		up = r.hops
	}
	if len(up) == 0 {
		return
	}
	first := up[0]
	if first.hops = up; len(up) == 1 {
		first.hops = nil
	}
	*r = first
}

// read takes over one word of a route and what follows it, n words.
func (r *routeWords) read(words []string) (n int, err error) {
	word := words[0]
	switch {
	case word == "onlink":
		r.Onlink = true
		return 1, nil
	case word == "linkdown":
		r.linkdown = true
		return 1, nil
	case word == "dead":
		r.dead = true
		return 1, nil
	case slices.Contains(routeFlags, word):
		return 1, nil
	case word == "tos", word == "dsfield", word == "encap", word == "from":
		return 0, fmt.Errorf("%s: natlab chooses routes by the destination alone: leave the route out, or give it without %s if the packets are of its kind", word, word)
	}
	n = 2
	if len(words) > 2 && (words[1] == "lock" || word == "via" && (words[1] == "inet" || words[1] == "inet6")) {
		r.foreign = r.foreign || word == "via"
		words, n = words[1:], 3
	}
	if len(words) < 2 {
		return 0, fmt.Errorf("%s is not followed by anything", word)
	}
	switch value := words[1]; {
	case word == "via":
		r.Via, err = netip.ParseAddr(value)
		err = unreadable(value, err)
	case word == "src":
		r.Src, err = netip.ParseAddr(value)
		err = unreadable(value, err)
	case word == "dev":
		r.Device = value
	case word == "table":
		r.table = value
	case word == "nhid":
		r.object = value
	case word == "metric", word == "preference", word == "priority":
		var m uint64
		m, err = strconv.ParseUint(value, 0, 32)
		r.metric = uint32(m)
	case slices.Contains(routeFacts, word):
	default:
		err = fmt.Errorf("%q is not known", word)
	}
	return n, err
}

// unused is why the kernel does not use a route of a node; "" where it does, and for those that it makes of its addresses.
func (n *Namespace) unused(r *routeWords) string {
	switch {
	case r.own != "" && !slices.Contains([]string{"", "local", "255"}, r.table):
		return "not used: natlab knows " + r.own + " routes of the table local only"
	case r.own == "local" && !slices.ContainsFunc(n.Addresses, func(a Address) bool { return r.Dst.Contains(a.Prefix.Addr()) }) && !r.Dst.Addr().IsLoopback():
		return "a local address that no address of the node tells of: add it by DEVICE=ADDRESS/LENGTH"
	case r.own != "" || r.table == "local" || r.table == "255":
		return ""
	case !n.asks(r):
		return "not used: no rule of routing (ip rule) that leads to table " + cmp.Or(r.table, "main") + " is known"
	case r.dead:
		return "not used: its device is down (dead)"
	case r.linkdown && n.ignoresLinkdown(r):
		return "not used: its device has no carrier (linkdown), and ignore_routes_with_linkdown is 1"
	}
	return ""
}

// asks reports whether a rule of routing leads to a route's table, and keeps the table as rules name it. Without rules the kernel's own ask main, and
// default behind it.
func (n *Namespace) asks(r *routeWords) bool {
	table, six := tableName(r.table), r.Dst.Addr().Is6()
	ruled := slices.ContainsFunc(n.Rules, func(rule RoutingRule) bool { return rule.Six == six })
	if !ruled {
		return table == "" || table == "default"
	}
	r.Table = table
	return slices.ContainsFunc(n.Rules, func(rule RoutingRule) bool {
		return rule.Six == six && rule.Action == RouteByTable && rule.Table == table
	})
}

// mayAsk reports whether a rule of routing that nobody told may lead to a route's table, and keeps the table.
func (n *Namespace) mayAsk(r *routeWords, whole bool) bool {
	six := r.Dst.Addr().Is6()
	if whole || r.own != "" || r.dead || n.asks(r) || slices.ContainsFunc(n.Rules, func(rule RoutingRule) bool { return rule.Six == six }) {
		return false
	}
	r.Table = tableName(r.table)
	return true
}

// ignoresLinkdown reports whether the kernel takes a route for gone while its device has no carrier: a device has the setting of its
// own, else that of "default" (fib_nh_match, ip_ignore_linkdown).
func (n *Namespace) ignoresLinkdown(r *routeWords) (on bool) {
	family := "ipv4"
	if r.Dst.Addr().Is6() {
		family = "ipv6"
	}
	for _, device := range []string{"default", r.Device} {
		for _, s := range n.Sysctls {
			if s.Key == "net/"+family+"/conf/"+device+"/ignore_routes_with_linkdown" {
				on = s.Value != "0"
			}
		}
	}
	return on
}
