package iptables

import (
	"net/netip"
	"strconv"
	"strings"

	"natlab/nat"
	"natlab/nat/rules"
	"natlab/nat/xt"
)

// parseTarget reads -j NAME or -g NAME with its options, which go up to the end of the rule or the next -m.
func parseTarget(c *cursor, r *Rule, family nat.Family) error {
	option, not := c.option()
	if not || r.Target != nil {
		return c.errorf("%s does not go here", option)
	}
	name, err := c.value(option)
	if err != nil {
		return err
	}
	if option == "-g" || option == "--goto" {
		r.Target = xt.Goto{Chain: name}
		return nil
	}
	start := c.at
	parse, known := targets[name]
	if !known {
		if options := takeOptions(c); options != "" {
			r.Target = xt.RawTarget{Extension: name, Options: options}
		} else {
			r.Target = jumpOrRaw(name)
		}
		return nil
	}
	t, ok, err := parse(c, family)
	if err != nil {
		return err
	}
	if ok && c.hasArgument() {
		return c.unexpected()
	}
	if !ok || !c.endsTyped() {
		c.at = start
		t = xt.RawTarget{Extension: name, Options: takeOptions(c)}
	}
	r.Target = t
	return nil
}

// jumpOrRaw takes a bare name for a chain, but for the targets that have no options and are not modelled.
func jumpOrRaw(name string) xt.Target {
	switch name {
	case "IDLETIMER", "HMARK", "SECMARK", "CONNSECMARK":
		return xt.RawTarget{Extension: name}
	}
	return xt.Jump{Chain: name}
}

// targets are the targets that are read into a type of their own; ok is false where an option says more than the type
// can hold.
var targets = map[string]func(c *cursor, family nat.Family) (t xt.Target, ok bool, err error){
	"ACCEPT":     func(*cursor, nat.Family) (xt.Target, bool, error) { return xt.Accept{}, true, nil },
	"DROP":       func(*cursor, nat.Family) (xt.Target, bool, error) { return xt.Drop{}, true, nil },
	"RETURN":     func(*cursor, nat.Family) (xt.Target, bool, error) { return xt.Return{}, true, nil },
	"REJECT":     parseReject,
	"DNAT":       parseDNAT,
	"SNAT":       parseSNAT,
	"MASQUERADE": parseMasquerade,
	"REDIRECT":   parseRedirect,
	"NETMAP":     parseNetMap,
	"QUEUE":      func(*cursor, nat.Family) (xt.Target, bool, error) { return xt.Queue{}, true, nil },
}

func parseReject(c *cursor, family nat.Family) (xt.Target, bool, error) {
	t := xt.Reject{With: "icmp-port-unreachable"}
	if family == nat.IPv6 {
		t.With = "icmp6-port-unreachable"
	}
	if c.peek() == "--reject-with" {
		c.option()
		var err error
		if t.With, err = c.value("--reject-with"); err != nil {
			return nil, false, err
		}
	}
	return t, true, nil
}

// natRange is a range while it is read.
type natRange struct{ rules.NATRange }

// natRange reads the options of a NAT target; want is the one that names the range. ok is false where they do not say
// one range: old kernels took several, and an old iptables prints a new kernel's as something that is none.
func (c *cursor) natRange(want string) (r natRange, ok bool) {
	parse := r.parse
	if want == "--to-ports" {
		parse = r.parsePorts
	}
	for ranges := 0; ; {
		switch c.peek() {
		case want:
			c.option()
			if ranges++; ranges > 1 || !parse(c.peek()) {
				return r, false
			}
			c.at++
		case "--random":
			c.option()
			r.Random = true
		case "--random-fully":
			c.option()
			r.FullyRandom = true
		case "--persistent":
			c.option()
			r.Persistent = true
		default:
			return r, true
		}
	}
}

func (r *natRange) parse(text string) bool {
	addrs, ports := text, ""
	switch {
	case strings.HasPrefix(text, ":"):
		addrs, ports = "", text[1:]
	case strings.HasPrefix(text, "["):
		end := strings.LastIndexByte(text, ']')
		if end < 0 {
			return false
		}
		addrs = strings.NewReplacer("[", "", "]", "").Replace(text[:end])
		rest := text[end+1:]
		if rest != "" && rest[0] != ':' {
			return false
		}
		ports = strings.TrimPrefix(rest, ":")
	case strings.Count(text, ":") == 1:
		addrs, ports, _ = strings.Cut(text, ":")
	}
	return text != "" && (addrs == "" || r.parseAddrs(addrs)) && (ports == "" || r.parsePorts(ports))
}

func (r *natRange) parseAddrs(text string) bool {
	low, high, both := strings.Cut(text, "-")
	var err error
	if r.MinAddr, err = netip.ParseAddr(low); err != nil {
		return false
	}
	r.MaxAddr = r.MinAddr
	if both {
		r.MaxAddr, err = netip.ParseAddr(high)
	}
	return err == nil
}

func (r *natRange) parsePorts(text string) bool {
	text, base, shifted := strings.Cut(text, "/")
	p, ok := parsePortRange(text, "-")
	if !ok || p.Low == 0 {
		return false
	}
	r.MinPort, r.MaxPort = p.Low, p.High
	if shifted {
		n, err := strconv.ParseUint(base, 10, 16)
		r.BasePort = uint16(n)
		return err == nil
	}
	return true
}

func parseDNAT(c *cursor, _ nat.Family) (xt.Target, bool, error) {
	r, ok := c.natRange("--to-destination")
	return xt.DNAT{Range: r.NATRange}, ok && (r.MinAddr.IsValid() || r.MinPort != 0), nil
}

func parseSNAT(c *cursor, _ nat.Family) (xt.Target, bool, error) {
	r, ok := c.natRange("--to-source")
	return xt.SNAT{Range: r.NATRange}, ok && (r.MinAddr.IsValid() || r.MinPort != 0), nil
}

func parseMasquerade(c *cursor, _ nat.Family) (xt.Target, bool, error) {
	r, ok := c.natRange("--to-ports")
	return xt.Masquerade{Range: r.NATRange}, ok, nil
}

func parseRedirect(c *cursor, _ nat.Family) (xt.Target, bool, error) {
	r, ok := c.natRange("--to-ports")
	return xt.Redirect{Range: r.NATRange}, ok, nil
}

func parseNetMap(c *cursor, _ nat.Family) (xt.Target, bool, error) {
	if c.peek() != "--to" {
		return nil, false, nil
	}
	c.option()
	text, err := c.value("--to")
	if err != nil {
		return nil, false, err
	}
	p, err := parsePrefix(text)
	return xt.NetMap{To: p}, err == nil && p.IsValid(), nil
}
