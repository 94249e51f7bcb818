package iptables

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"
)

// String is the rule set as iptables-save prints it, without its comment lines and without the rules' counters.
func (rs Ruleset) String() string {
	return rs.text(false)
}

// Counted is String with every rule's counters, as iptables-save -c prints it.
func (rs Ruleset) Counted() string {
	return rs.text(true)
}

// Restore is input for iptables-restore that makes a node hold the tables of rs, and of them exactly what rs holds.
func (rs Ruleset) Restore() string { return rs.String() }

// text prints by way of one line's buffer, so that the whole is written once.
func (rs Ruleset) text(counters bool) string {
	var out strings.Builder
	out.Grow(rs.size())
	line := make([]byte, 0, 512)
	for _, t := range rs.Tables {
		out.WriteString("*" + t.Name + "\n")
		for _, c := range t.Chains {
			line = append(append(append(line[:0], ':'), c.Name...), ' ')
			line = append(append(line, c.Policy...), ' ')
			line = oneLine(appendCounters(line, c.Packets, c.Bytes))
			out.Write(line)
		}
		for _, c := range t.Chains {
			for i := range c.Rules {
				line = line[:0]
				if counters {
					line = append(appendCounters(line, c.Rules[i].Packets, c.Rules[i].Bytes), ' ')
				}
				line = oneLine(c.Rules[i].appendText(append(append(line, "-A "...), c.Name...)))
				out.Write(line)
			}
		}
		out.WriteString("COMMIT\n")
	}
	return out.String()
}

// oneLine ends a line. What would end it sooner for iptables-restore, a name or comment not from a parsed text may
// have it, becomes a question mark.
func oneLine(b []byte) []byte {
	for _, end := range []byte{'\n', 0} {
		for i := bytes.IndexByte(b, end); i >= 0; i = bytes.IndexByte(b, end) {
			b[i] = '?'
		}
	}
	return append(b, '\n')
}

// size guesses the length of the text, for one allocation to do.
func (rs Ruleset) size() int {
	const chain, rule = 48, 128 // bytes a line, of kube-proxy's
	n := 0
	for _, t := range rs.Tables {
		for _, c := range t.Chains {
			n += chain + rule*len(c.Rules)
		}
	}
	return n
}

func appendCounters(b []byte, packets, bytes uint64) []byte {
	b = strconv.AppendUint(append(b, '['), packets, 10)
	b = strconv.AppendUint(append(b, ':'), bytes, 10)
	return append(b, ']')
}

func (r Rule) appendText(b []byte) []byte {
	for _, m := range r.Matches {
		b = m.appendText(b)
	}
	if r.Target != nil {
		b = r.Target.appendText(b)
	}
	return b
}

// Text is the rule as iptables-save prints it: "-A CHAIN ...".
func (r Rule) Text(chain string) string { return string(r.appendText([]byte("-A " + chain))) }

// Spec is the rule without its chain: what follows "-A CHAIN " in Text.
func (r Rule) Spec() string { return strings.TrimPrefix(string(r.appendText(nil)), " ") }

func appendOption(b []byte, not bool, option string) []byte {
	if not {
		b = append(b, " !"...)
	}
	return append(append(b, ' '), option...)
}

func appendWord(b []byte, not bool, option, value string) []byte {
	return append(append(appendOption(b, not, option), ' '), value...)
}

func appendHex(b []byte, v uint32) []byte {
	return strconv.AppendUint(append(b, "0x"...), uint64(v), 16)
}

func appendHexMask(b []byte, not bool, option string, value, mask uint32) []byte {
	b = appendHex(append(appendOption(b, not, option), ' '), value)
	if mask != 0xffffffff {
		b = appendHex(append(b, '/'), mask)
	}
	return b
}

func appendFlag(b []byte, on bool, option string) []byte {
	if on {
		b = append(append(b, ' '), option...)
	}
	return b
}

func appendNumber(b []byte, option string, n uint64) []byte {
	return strconv.AppendUint(append(appendOption(b, false, option), ' '), n, 10)
}

func (m Source) appendText(b []byte) []byte {
	return appendPrefix(append(appendOption(b, m.Not, "-s"), ' '), m.Prefix)
}

func (m Destination) appendText(b []byte) []byte {
	return appendPrefix(append(appendOption(b, m.Not, "-d"), ' '), m.Prefix)
}

func appendPrefix(b []byte, p netip.Prefix) []byte {
	return strconv.AppendInt(append(appendAddr(b, p.Addr()), '/'), int64(p.Bits()), 10)
}

// appendAddr writes an address as the C library's inet_ntop does, which iptables prints by.
func appendAddr(b []byte, a netip.Addr) []byte {
	if a.Is6() && !a.Is4In6() {
		raw := a.As16()
		if compatible := [12]byte(raw[:12]) == [12]byte{} && (raw[12] != 0 || raw[13] != 0); compatible {
			return netip.AddrFrom4([4]byte(raw[12:])).AppendTo(append(b, "::"...))
		}
	}
	return a.AppendTo(b)
}

func (m InInterface) appendText(b []byte) []byte  { return appendWord(b, m.Not, "-i", m.Name) }
func (m OutInterface) appendText(b []byte) []byte { return appendWord(b, m.Not, "-o", m.Name) }
func (m Protocol) appendText(b []byte) []byte     { return appendWord(b, m.Not, "-p", m.Name) }
func (m Fragment) appendText(b []byte) []byte     { return appendOption(b, m.Not, "-f") }

func (r PortRange) appendText(b []byte, separator byte) []byte {
	b = strconv.AppendUint(b, uint64(r.Low), 10)
	if r.High != r.Low {
		b = strconv.AppendUint(append(b, separator), uint64(r.High), 10)
	}
	return b
}

func (m Ports) appendText(b []byte) []byte {
	b = append(append(b, " -m "...), m.Protocol...)
	if m.Source != nil {
		b = m.Source.appendText(append(appendOption(b, m.Source.Not, "--sport"), ' '), ':')
	}
	if m.Destination != nil {
		b = m.Destination.appendText(append(appendOption(b, m.Destination.Not, "--dport"), ' '), ':')
	}
	if m.Flags != nil {
		b = append(appendOption(b, m.Flags.Not, "--tcp-flags"), ' ')
		b = appendTCPFlags(append(appendTCPFlags(b, m.Flags.Mask), ' '), m.Flags.Set)
	}
	return b
}

var tcpFlagNames = [...]string{"FIN", "SYN", "RST", "PSH", "ACK", "URG"} // by bit

func appendTCPFlags(b []byte, flags uint8) []byte {
	if flags == 0 {
		return append(b, "NONE"...)
	}
	return appendBits(b, uint(flags), tcpFlagNames[:])
}

func appendBits(b []byte, bits uint, names []string) []byte {
	separate := false
	for i, name := range names {
		if bits&(1<<i) == 0 {
			continue
		}
		if separate {
			b = append(b, ',')
		}
		b, separate = append(b, name...), true
	}
	return b
}

func (m MultiPort) appendText(b []byte) []byte {
	option := [...]string{DestinationPorts: "--dports", SourcePorts: "--sports", EitherPorts: "--ports"}[m.Side]
	b = append(appendOption(append(b, " -m multiport"...), m.Not, option), ' ')
	for i, r := range m.Ports {
		if i > 0 {
			b = append(b, ',')
		}
		b = r.appendText(b, ':')
	}
	return b
}

func (m ICMPType) appendText(b []byte) []byte {
	name, option := " -m icmp", "--icmp-type"
	if m.V6 {
		name, option = " -m icmp6", "--icmpv6-type"
	}
	b = append(appendOption(append(b, name...), m.Not, option), ' ')
	if m.Any {
		return append(b, "any"...)
	}
	b = strconv.AppendUint(b, uint64(m.Type), 10)
	if !m.AnyCode {
		b = strconv.AppendUint(append(b, '/'), uint64(m.Code), 10)
	}
	return b
}

func (m Mark) appendText(b []byte) []byte {
	return appendHexMask(append(b, " -m mark"...), m.Not, "--mark", m.Value, m.Mask)
}

func (m ConnMark) appendText(b []byte) []byte {
	return appendHexMask(append(b, " -m connmark"...), m.Not, "--mark", m.Value, m.Mask)
}

var stateNames = [...]string{"INVALID", "NEW", "RELATED", "ESTABLISHED", "UNTRACKED", "SNAT", "DNAT"} // by bit

// String lists the states as --ctstate does.
func (s State) String() string { return string(appendBits(nil, uint(s), stateNames[:])) }

func (m Conntrack) appendText(b []byte) []byte {
	name, option := " -m conntrack", "--ctstate"
	if m.Legacy {
		name, option = " -m state", "--state"
	}
	return appendWord(append(b, name...), m.Not, option, m.States.String())
}

func (m AddrType) appendText(b []byte) []byte {
	b = append(b, " -m addrtype"...)
	if m.Source != "" {
		b = appendWord(b, m.NotSource, "--src-type", m.Source)
	}
	if m.Destination != "" {
		b = appendWord(b, m.NotDestination, "--dst-type", m.Destination)
	}
	return appendFlag(appendFlag(b, m.LimitIn, "--limit-iface-in"), m.LimitOut, "--limit-iface-out")
}

func (m Comment) appendText(b []byte) []byte {
	return appendQuoted(append(b, " -m comment --comment "...), m.Text)
}

// appendQuoted quotes as xtables_save_string does: not at all for letters, digits, "_" and "-".
func appendQuoted(b []byte, s string) []byte {
	plain := s != ""
	for _, r := range s {
		plain = plain && (r == '_' || r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z')
	}
	if plain {
		return append(b, s...)
	}
	b = append(b, '"')
	for i := range len(s) {
		if c := s[i]; c == '"' || c == '\\' || c == '\'' {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return append(b, '"')
}

func (m Statistic) appendText(b []byte) []byte {
	if m.Every == 0 {
		b = append(appendOption(append(b, " -m statistic --mode random"...), m.Not, "--probability"), ' ')
		return strconv.AppendFloat(b, m.Chance(), 'f', 11, 64)
	}
	b = append(appendOption(append(b, " -m statistic --mode nth"...), m.Not, "--every"), ' ')
	return appendNumber(strconv.AppendUint(b, uint64(m.Every), 10), "--packet", uint64(m.Packet))
}

var recentActions = [...]string{RecentSet: "--set", RecentCheck: "--rcheck", RecentUpdate: "--update", RecentRemove: "--remove"}

func (m Recent) appendText(b []byte) []byte {
	b = appendOption(append(b, " -m recent"...), m.Not, recentActions[m.Action])
	if m.Seconds != 0 {
		b = appendNumber(b, "--seconds", uint64(m.Seconds))
	}
	b = appendFlag(b, m.Reap, "--reap")
	if m.HitCount != 0 {
		b = appendNumber(b, "--hitcount", uint64(m.HitCount))
	}
	b = appendFlag(b, m.TTL, "--rttl")
	if m.Name != "" {
		b = appendWord(b, false, "--name", m.Name)
	}
	if m.Mask.IsValid() {
		b = appendWord(b, false, "--mask", m.Mask.String())
	}
	if m.ByDest {
		return append(b, " --rdest"...)
	}
	return append(b, " --rsource"...)
}

const defaultBurst = 5 // XT_LIMIT_BURST

func (m Limit) appendText(b []byte) []byte {
	b = appendWord(append(b, " -m limit"...), false, "--limit", m.Rate)
	if m.Burst != defaultBurst {
		b = appendNumber(b, "--limit-burst", uint64(m.Burst))
	}
	return b
}

func (m Set) appendText(b []byte) []byte {
	b = appendWord(append(b, " -m set"...), m.Not, "--match-set", m.Name+" "+m.Dirs)
	return appendFlag(b, m.Rest != "", m.Rest)
}

func (m RPFilter) appendText(b []byte) []byte {
	b = appendFlag(append(b, " -m rpfilter"...), m.Loose, "--loose")
	b = appendFlag(appendFlag(b, m.ValidMark, "--validmark"), m.AcceptLocal, "--accept-local")
	return appendFlag(b, m.Invert, "--invert")
}

func (m PhysDev) appendText(b []byte) []byte {
	return appendFlag(append(b, " -m physdev"...), m.Options != "", m.Options)
}

func (m Owner) appendText(b []byte) []byte {
	return appendFlag(append(b, " -m owner"...), m.Options != "", m.Options)
}

func (m Socket) appendText(b []byte) []byte {
	return appendFlag(append(b, " -m socket"...), m.Options != "", m.Options)
}

// The two spaces are what iptables-save 1.8.9 prints.
func (m NFAcct) appendText(b []byte) []byte {
	return append(append(b, " -m nfacct --nfacct-name  "...), m.Name...)
}

func (m Raw) appendText(b []byte) []byte { return append(append(b, ' '), m.Text...) }
