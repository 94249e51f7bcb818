package behaviour

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"natlab/nat/conntrack"
)

// Dependence is what of the remote end a mapping, or the filter of a mapping, hangs on (RFC 4787, 4.1 and 5).
type Dependence uint8

// The dependences. The zero value is that of Linux's own NAT, which maps by connection and does not filter.
const (
	Own Dependence = iota
	EndpointIndependent
	AddressDependent
	AddressAndPortDependent
)

var dependences = []string{Own: "", EndpointIndependent: "endpoint-independent", AddressDependent: "address-dependent", AddressAndPortDependent: "address-and-port-dependent"}

func (d Dependence) String() string { return dependences[d] }

// Ports is how the port of a new mapping is chosen (RFC 4787, 4.2.1).
type Ports uint8

// The ways to choose a port.
const (
	Preserve   Ports = iota // that of the internal endpoint, or another where that is taken
	Sequential              // the one behind the last that was given
	Random                  // any that is free
	Overload                // that of the internal endpoint, taken or not; where it is out of the range, the range's first
)

var portsNames = []string{Preserve: "preserve", Sequential: "sequential", Random: "random", Overload: "overload"}

func (p Ports) String() string { return portsNames[p] }

// NAT is how a NAT behaves. The zero NAT is Linux's own.
type NAT struct {
	Mapping   Dependence
	Filtering Dependence // whom a mapping lets in that did not ask
	Ports     Ports
	AnyParity bool // an even port may become an odd one
	// Low and High are the ports that are given, where a rule has no range of its own; 0: below 1024 for ports below, else those above.
	Low, High uint16
	// Block is how many ports in a row an internal host gets at once, for all protocols; 0: one at a time. Blocks is how many such blocks at most; 0: no limit.
	Block, Blocks uint16
	Arbitrary     bool // a host's mappings may have any of the external addresses (RFC 4787, 4.1: pooling)
	NoHairpin     bool // what hosts inside send to external endpoints of each other is dropped
	// UDP, TCP and ICMP are how long a mapping lives without a packet: in place of both timeouts of UDP, of that of an established TCP connection, and of that
	// of queries. 0: as the sysctls have it. Packets of both directions keep it alive.
	UDP, TCP, ICMP time.Duration
}

// Other reports whether it is another NAT than Linux's own.
func (n NAT) Other() bool { return n.Mapping != Own }

// String is what Parse reads: "mapping=endpoint-independent,filtering=address-dependent,ports=preserve,parity=on,pooling=paired,hairpin=on"; "" for Linux's own.
func (n NAT) String() string {
	if !n.Other() {
		return ""
	}
	words := []string{
		"mapping=" + n.Mapping.String(), "filtering=" + n.Filtering.String(), "ports=" + n.Ports.String(), "parity=" + switchWord(!n.AnyParity),
		"pooling=" + map[bool]string{false: "paired", true: "arbitrary"}[n.Arbitrary], "hairpin=" + switchWord(!n.NoHairpin),
	}
	if n.High != 0 {
		words = append(words, fmt.Sprintf("range=%d-%d", n.Low, n.High))
	}
	for _, number := range []struct {
		name string
		n    uint16
	}{{"block", n.Block}, {"blocks", n.Blocks}} {
		if number.n != 0 {
			words = append(words, fmt.Sprintf("%s=%d", number.name, number.n))
		}
	}
	for _, timeout := range []struct {
		name string
		d    time.Duration
	}{{"udp-timeout", n.UDP}, {"tcp-timeout", n.TCP}, {"icmp-timeout", n.ICMP}} {
		if timeout.d != 0 {
			words = append(words, timeout.name+"="+timeout.d.String())
		}
	}
	return strings.Join(words, ",")
}

func switchWord(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// Parse reads NAME=VALUE,...; "" is Linux's own NAT. What is left out is what RFC 4787 asks for or recommends: endpoint-independent mapping, address-dependent
// filtering, ports preserved, parity on, paired pooling, hairpin on.
func Parse(text string) (NAT, error) {
	if strings.TrimSpace(text) == "" {
		return NAT{}, nil
	}
	n := NAT{Mapping: EndpointIndependent, Filtering: AddressDependent}
	given := map[string]bool{}
	for word := range strings.SplitSeq(text, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(word), "=")
		switch {
		case !ok:
			return NAT{}, fmt.Errorf("%q: want NAME=VALUE", word)
		case given[name]:
			return NAT{}, fmt.Errorf("%s is given twice", name)
		}
		given[name] = true
		if err := n.set(name, value); err != nil {
			return NAT{}, fmt.Errorf("%s=%s: %w", name, value, err)
		}
	}
	if n.Blocks != 0 && n.Block == 0 {
		return NAT{}, fmt.Errorf("blocks=%d: of how many ports? Give block, too", n.Blocks)
	}
	if size := int(n.High) - int(n.Low) + 1; n.High != 0 && int(n.Block) > size {
		return NAT{}, fmt.Errorf("block=%d: range=%d-%d has %d ports", n.Block, n.Low, n.High, size)
	}
	return n, nil
}

// names are those of Parse's words.
var names = []string{"mapping", "filtering", "ports", "parity", "pooling", "hairpin", "range", "block", "blocks", "udp-timeout", "tcp-timeout", "icmp-timeout"}

func (n *NAT) set(name, value string) (err error) {
	switch name {
	case "mapping":
		return oneOf(dependences, value, &n.Mapping)
	case "filtering":
		return oneOf(dependences, value, &n.Filtering)
	case "ports":
		return oneOf(portsNames, value, &n.Ports)
	case "parity":
		return oneOf([]string{"on", "off"}, value, &n.AnyParity)
	case "pooling":
		return oneOf([]string{"paired", "arbitrary"}, value, &n.Arbitrary)
	case "hairpin":
		return oneOf([]string{"on", "off"}, value, &n.NoHairpin)
	case "range":
		low, high, dash := strings.Cut(value, "-")
		if n.Low, err = number(low); err != nil {
			return err
		}
		if !dash {
			high = low
		}
		if n.High, err = number(high); n.High < n.Low {
			err = errors.New("want LOW-HIGH")
		}
		return err
	case "block":
		n.Block, err = number(value)
	case "blocks":
		n.Blocks, err = number(value)
	case "udp-timeout":
		n.UDP, err = duration(value)
	case "tcp-timeout":
		n.TCP, err = duration(value)
	case "icmp-timeout":
		n.ICMP, err = duration(value)
	default:
		return fmt.Errorf("not known: want %s", strings.Join(names, ", "))
	}
	return err
}

// oneOf sets what a word stands for: its place among the words.
func oneOf[T ~uint8 | ~bool](words []string, value string, into *T) error {
	at := slices.Index(words, value)
	if at < 0 || value == "" {
		return fmt.Errorf("want %s", strings.Join(slices.DeleteFunc(slices.Clone(words), func(w string) bool { return w == "" }), " or "))
	}
	switch p := any(into).(type) {
	case *Dependence:
		*p = Dependence(at)
	case *Ports:
		*p = Ports(at)
	case *bool:
		*p = at == 1
	}
	return nil
}

func number(text string) (uint16, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return 0, errors.New("want a number from 1 to 65535")
	}
	return uint16(n), nil
}

func duration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if seconds, wrong := strconv.ParseUint(text, 10, 31); wrong == nil {
		d, err = time.Duration(seconds)*time.Second, nil
	}
	if err != nil || d < time.Second {
		return 0, errors.New("want a time of a second or more, such as 5m")
	}
	return d, nil
}

// Age gives connections the timeouts of the NAT.
func (n NAT) Age(t *conntrack.Timeouts) {
	if n.UDP != 0 {
		t.UDP, t.UDPStream = n.UDP, n.UDP
	}
	if n.TCP != 0 {
		t.TCP[conntrack.TCPEstablished] = n.TCP
	}
	if n.ICMP != 0 {
		t.ICMP, t.ICMPv6 = n.ICMP, n.ICMP
	}
}
