package nftables

import (
	"slices"
	"strings"
	"sync"
)

// selector is a row of the list: everything there is to know of one Selector.
type selector struct {
	name string // as nft prints it, with "meta" in front of what it prints without
	kind Type
	bare bool // nft prints it without "meta" (meta_key_is_unqualified)
}

// selectors is the list.
var selectors = slices.Concat(metaSelectors, ctSelectors, headerSelectors, []selector{
	{name: "rt classid", kind: "realm"},
	{name: "rt nexthop", kind: IPv4Addr},
	{name: "rt ip nexthop", kind: IPv4Addr},
	{name: "rt ip6 nexthop", kind: IPv6Addr},
	{name: "rt mtu", kind: Integer},
	{name: "rt ipsec", kind: Boolean},
	{name: "socket transparent", kind: Integer},
	{name: "socket wildcard", kind: Integer},
	{name: "socket mark", kind: MarkType},
	{name: "osf name", kind: Text},
	{name: "tcp option maxseg size", kind: InetService},
	{name: "exthdr hbh", kind: Boolean},
	{name: "exthdr rt", kind: Boolean},
	{name: "exthdr frag", kind: Boolean},
	{name: "exthdr dst", kind: Boolean},
	{name: "exthdr mh", kind: Boolean},
})

var selectorIndex = sync.OnceValue(func() map[string]*selector {
	out := make(map[string]*selector, len(selectors))
	for i := range selectors {
		row := &selectors[i]
		out[row.name] = row
		if short, is := strings.CutPrefix(row.name, "meta "); is && row.bare {
			out[short] = row
		}
	}
	out["mark"] = out["meta mark"]
	return out
})

// selectorRow is the row of a selector, by any of its names.
func selectorRow(name string) (*selector, bool) {
	row, ok := selectorIndex()[name]
	return row, ok
}

var metaSelectors = []selector{
	{name: "meta length", kind: Integer},
	{name: "meta protocol", kind: EtherType},
	{name: "meta nfproto", kind: NFProto},
	{name: "meta l4proto", kind: InetProto},
	{name: "meta mark", kind: MarkType},
	{name: "meta priority", kind: ClassID},
	{name: "meta iif", kind: IfIndex, bare: true},
	{name: "meta oif", kind: IfIndex, bare: true},
	{name: "meta iifname", kind: IfName, bare: true},
	{name: "meta oifname", kind: IfName, bare: true},
	{name: "meta iifgroup", kind: DevGroup, bare: true},
	{name: "meta oifgroup", kind: DevGroup, bare: true},
	{name: "meta iiftype", kind: "iface_type"},
	{name: "meta oiftype", kind: "iface_type"},
	{name: "meta iifkind", kind: IfName},
	{name: "meta oifkind", kind: IfName},
	{name: "meta ibrname", kind: IfName},
	{name: "meta obrname", kind: IfName},
	{name: "meta sdif", kind: IfIndex},
	{name: "meta sdifname", kind: IfName},
	{name: "meta skuid", kind: UID},
	{name: "meta skgid", kind: GID},
	{name: "meta nftrace", kind: Integer},
	{name: "meta rtclassid", kind: "realm"},
	{name: "meta pkttype", kind: PktType},
	{name: "meta cpu", kind: Integer},
	{name: "meta cgroup", kind: Integer},
	{name: "meta random", kind: Integer},
	{name: "meta secpath", kind: Boolean},
	{name: "meta ipsec", kind: Boolean},
	{name: "meta time", kind: "meta_time"},
	{name: "meta day", kind: "day"},
	{name: "meta hour", kind: "hour"},
}

var ctSelectors = append([]selector{
	{name: "ct state", kind: CTState},
	{name: "ct status", kind: CTStatus},
	{name: "ct direction", kind: CTDir},
	{name: "ct mark", kind: MarkType},
	{name: "ct expiration", kind: TimeType},
	{name: "ct helper", kind: Text},
	{name: "ct label", kind: CTLabel},
	{name: "ct l3proto", kind: NFProto},
	{name: "ct protocol", kind: InetProto},
	{name: "ct bytes", kind: Integer},
	{name: "ct packets", kind: Integer},
	{name: "ct avgpkt", kind: Integer},
	{name: "ct zone", kind: Integer},
	{name: "ct id", kind: Integer},
	{name: "ct event", kind: "ct_event"},
	{name: "ct timeout", kind: Text},
	{name: "ct expectation", kind: Text},
}, slices.Concat(ctSides("original"), ctSides("reply"))...)

// ctSides are the selectors of one direction of a connection.
func ctSides(dir string) (out []selector) {
	for _, key := range []struct {
		name string
		kind Type
	}{
		{"l3proto", NFProto},
		{"protocol", InetProto},
		{"proto-src", InetService},
		{"proto-dst", InetService},
		{"bytes", Integer},
		{"packets", Integer},
		{"avgpkt", Integer},
		{"zone", Integer},
		{"ip saddr", IPv4Addr},
		{"ip daddr", IPv4Addr},
		{"ip6 saddr", IPv6Addr},
		{"ip6 daddr", IPv6Addr},
		{"saddr", IPv4Addr},
		{"daddr", IPv4Addr},
	} {
		out = append(out, selector{name: "ct " + dir + " " + key.name, kind: key.kind})
	}
	return out
}
