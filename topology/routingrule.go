package topology

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// RoutingRule is a rule of routing (ip rule, struct fib_rule): which table, or what else, decides for which packets. A node without any has
// the kernel's own: the tables local, main and default.
type RoutingRule struct {
	Six      bool // of IPv6
	Priority uint32
	Not      bool         // for all packets but these
	From, To netip.Prefix // not valid: any
	In, Out  string       // the device that a packet came in by, lo for one of the node's own; that it is bound to; "" for any
	Mark     uint32
	Mask     uint32 // of the mark; 0: any mark
	Proto    uint8  // 0: any
	Sport    Ports
	Dport    Ports
	UID      *[2]uint32 // of the sender, first and last; nil: any
	Action   RoutingAction
	Table    string // of RouteByTable: "main", "local", "default", or its number or name
	Goto     uint32 // of RouteByGoto: the priority of the rule to go on with
	VRF      bool   // by the table of the VRF that the packet's device is in (l3mdev)
	Suppress int    // routes whose prefixes are not longer than this do not count; -1: all do
	Open     string // a condition that is not modelled: whether the rule is for a packet is not known; "" for none
}

// Ports are a range of ports; the zero one is all.
type Ports struct{ First, Last uint16 }

// Has reports whether a port is one of them.
func (p Ports) Has(port uint16) bool { return p == Ports{} || p.First <= port && port <= p.Last }

// RoutingAction is what a rule of routing does (FR_ACT_*).
type RoutingAction uint8

// The actions. The zero one asks a table.
const (
	RouteByTable RoutingAction = iota
	RouteByGoto
	RouteByNothing // nop
	RouteToBlackhole
	RouteToUnreachable
	RouteToProhibit
)

// tableName is a table's name as natlab keeps it: "" for main, which most routes are of.
func tableName(text string) string {
	switch text {
	case "main", "254":
		return ""
	case "253":
		return "default"
	case "255":
		return "local"
	}
	return text
}

// ParseRoutingRule reads a rule as ip rule prints it: "100: from 10.0.0.0/8 iif eth0 fwmark 0x1/0xff lookup 7 suppress_prefixlength 0".
func ParseRoutingRule(text string, six bool) (RoutingRule, error) {
	r := RoutingRule{Six: six, Suppress: -1}
	words := strings.Fields(text)
	if len(words) == 0 || !strings.HasSuffix(words[0], ":") {
		return RoutingRule{}, errors.New("want a rule as ip rule prints it: PRIORITY: from all lookup TABLE")
	}
	n, err := strconv.ParseUint(strings.TrimSuffix(words[0], ":"), 10, 32)
	if err != nil {
		return RoutingRule{}, fmt.Errorf("%q is no priority", words[0])
	}
	r.Priority = uint32(n)
	decided := false
	for rest := words[1:]; len(rest) > 0; {
		used, done, err := r.read(rest)
		if err != nil {
			return RoutingRule{}, err
		}
		decided = decided || done
		rest = rest[used:]
	}
	if !decided {
		return RoutingRule{}, errors.New("it does nothing: want lookup TABLE, goto, nop, blackhole, unreachable or prohibit")
	}
	return r, nil
}

// routingActions are words that are an action of their own.
var routingActions = map[string]RoutingAction{
	"nop": RouteByNothing, "blackhole": RouteToBlackhole, "unreachable": RouteToUnreachable, "prohibit": RouteToProhibit,
}

// read takes over a word and what follows it, used words; done: it is what the rule does.
func (r *RoutingRule) read(words []string) (used int, done bool, err error) {
	word := words[0]
	action, is := routingActions[word]
	switch {
	case word == "not":
		r.Not = true
		return 1, false, nil
	case word == "[detached]", word == "[unresolved]": // of a device, or a rule, that is not there
		return 1, false, nil
	case is:
		r.Action = action
		return 1, true, nil
	case strings.HasPrefix(word, "suppress_ifgroup"), word == "tos", word == "dsfield", word == "tun_id", word == "flowlabel":
		r.Open = word
	case word == "l3mdev", word == "lookup" && len(words) > 1 && words[1] == "[l3mdev-table]":
		r.Action, r.VRF = RouteByNothing, true // no device is of a VRF, as far as natlab knows
		return min(2, len(words)), true, nil
	}
	if len(words) < 2 {
		return 0, false, fmt.Errorf("%s is not followed by anything", word)
	}
	value := words[1]
	switch word {
	case "lookup", "table":
		r.Table, done = tableName(value), true
	case "goto":
		var n uint64
		n, err = strconv.ParseUint(value, 10, 32)
		r.Action, r.Goto, done = RouteByGoto, uint32(n), true
	case "from", "to":
		err = r.network(word, value)
	case "iif", "dev":
		r.In = value
	case "oif":
		r.Out = value
	case "fwmark":
		err = r.mark(value)
	default:
		err = r.rare(word, value)
	}
	return 2, done, err
}

// rare reads what few rules have.
func (r *RoutingRule) rare(word, value string) (err error) {
	switch {
	case r.Open != "" && word == r.Open, slices.Contains([]string{"proto", "protocol", "realms"}, word): // who made it, and for accounting
	case word == "suppress_prefixlength":
		r.Suppress, err = strconv.Atoi(value)
	case word == "ipproto":
		r.Proto, err = parseIPProto(value)
	case word == "sport":
		r.Sport, err = parsePorts(value)
	case word == "dport":
		r.Dport, err = parsePorts(value)
	case word == "uidrange":
		var first, last uint32
		if _, err = fmt.Sscanf(value, "%d-%d", &first, &last); err == nil {
			r.UID = &[2]uint32{first, last}
		}
	default:
		return fmt.Errorf("%q is not known", word)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", word, value, err)
	}
	return nil
}

func (r *RoutingRule) network(word, value string) error {
	if value == "all" || value == "default" || value == "any" {
		return nil
	}
	p, err := ParsePrefix(value)
	if err != nil {
		return fmt.Errorf("%s %s: %w", word, value, err)
	}
	if word == "from" {
		r.From = p
	} else {
		r.To = p
	}
	return nil
}

func (r *RoutingRule) mark(value string) error {
	mark, mask, masked := strings.Cut(value, "/")
	n, err := strconv.ParseUint(mark, 0, 32)
	r.Mark, r.Mask = uint32(n), ^uint32(0)
	if err == nil && masked {
		n, err = strconv.ParseUint(mask, 0, 32)
		r.Mask = uint32(n)
	}
	if err != nil {
		return fmt.Errorf("fwmark %s: want MARK or MARK/MASK", value)
	}
	return nil
}

func parseIPProto(text string) (uint8, error) {
	if n, ok := map[string]uint8{"tcp": 6, "udp": 17, "icmp": 1, "ipv6-icmp": 58, "sctp": 132, "gre": 47, "esp": 50}[text]; ok {
		return n, nil
	}
	n, err := strconv.ParseUint(text, 10, 8)
	return uint8(n), err
}

func parsePorts(text string) (Ports, error) {
	first, last, ranged := strings.Cut(text, "-")
	if !ranged {
		last = first
	}
	a, err := strconv.ParseUint(first, 10, 16)
	b, err2 := strconv.ParseUint(last, 10, 16)
	return Ports{uint16(a), uint16(b)}, errors.Join(err, err2)
}
