package iptables

import (
	"strconv"
	"strings"

	"natlab/nat/xt"
)

func (c *cursor) portRange(option string, not bool, separator string) (*xt.PortRange, error) {
	text, err := c.value(option)
	if err != nil {
		return nil, err
	}
	r, ok := parsePortRange(text, separator)
	if !ok {
		return nil, c.errorf("%s %s: want a port or LOW%sHIGH", option, text, separator)
	}
	r.Not = not
	return &r, nil
}

func parsePortRange(text, separator string) (xt.PortRange, bool) {
	low, high, both := strings.Cut(text, separator)
	if !both {
		high = low
	} else if low == "" {
		low = "0"
	}
	if both && high == "" {
		high = "65535"
	}
	l, err1 := strconv.ParseUint(low, 10, 16)
	h, err2 := strconv.ParseUint(high, 10, 16)
	return xt.PortRange{Low: uint16(l), High: uint16(h)}, err1 == nil && err2 == nil && l <= h
}

func parsePorts(c *cursor, protocol string) (xt.Match, bool, error) {
	m := xt.Ports{Protocol: protocol}
	var err error
	for err == nil {
		switch c.peekOption() {
		case "--sport", "--source-port":
			o, not := c.option()
			m.Source, err = c.portRange(o, not, ":")
		case "--dport", "--destination-port":
			o, not := c.option()
			m.Destination, err = c.portRange(o, not, ":")
		case "--tcp-flags":
			_, not := c.option()
			m.Flags, err = c.tcpFlags(not)
		case "--syn":
			_, not := c.option()
			m.Flags = &xt.TCPFlags{Not: not, Mask: 0x17, Set: 0x02}
		default:
			return m, true, nil
		}
	}
	return nil, false, err
}

func (c *cursor) tcpFlags(not bool) (*xt.TCPFlags, error) {
	f := xt.TCPFlags{Not: not}
	for _, to := range []*uint8{&f.Mask, &f.Set} {
		text, err := c.value("--tcp-flags")
		if err != nil {
			return nil, err
		}
		bits, ok := parseBits(strings.ToUpper(text), []string{"FIN", "SYN", "RST", "PSH", "ACK", "URG"})
		switch strings.ToUpper(text) {
		case "ALL":
			bits, ok = 0x3f, true
		case "NONE":
			bits, ok = 0, true
		}
		if !ok {
			return nil, c.errorf("--tcp-flags %s: want flags of FIN,SYN,RST,PSH,ACK,URG, or ALL or NONE", text)
		}
		*to = uint8(bits)
	}
	return &f, nil
}

func parseBits(text string, names []string) (bits uint, ok bool) {
	for w := range strings.SplitSeq(text, ",") {
		found := false
		for i, name := range names {
			if name == w {
				bits |= 1 << i
				found = true
			}
		}
		if !found {
			return 0, false
		}
	}
	return bits, true
}

func parseMultiPort(c *cursor) (xt.Match, bool, error) {
	var m xt.MultiPort
	option, not := "", false
	switch c.peekOption() {
	case "--dports", "--destination-ports":
	case "--sports", "--source-ports":
		m.Side = xt.SourcePorts
	case "--ports":
		m.Side = xt.EitherPorts
	default:
		return nil, false, nil
	}
	option, not = c.option()
	text, err := c.value(option)
	if err != nil {
		return nil, false, err
	}
	m.Not = not
	for part := range strings.SplitSeq(text, ",") {
		r, ok := parsePortRange(part, ":")
		if !ok {
			return nil, false, c.errorf("%s %s: want ports and LOW:HIGH, joined by commas", option, text)
		}
		m.Ports = append(m.Ports, r)
	}
	return m, true, nil
}
