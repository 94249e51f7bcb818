package topology

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// link is a device as ip link, ip addr and bridge link print it, in what the three have in common. What is not told is zero.
type link struct {
	name, mac, master    string
	mtu                  int
	linkType             string // ether, none, loopback, ipip, ...
	kind, slave          string // of the device (-d), and of what its master has it as: "bridge"
	details              bool   // they are of -d, so that a device without a kind is one of hardware
	upper                bool   // NAME@OTHER: it is the end of a pair, or on top of another device
	lower                string // OTHER
	hairpin, calls, own6 Switch // a port's mode; nf_call_iptables and nf_call_ip6tables of a bridge itself
	vxlan                vxlanWords
	filters              bool // vlan_filtering of a bridge
	addresses            []linkAddress
	notes                []string
}

// vxlanWords are what a VXLAN device is told of.
type vxlanWords struct {
	id, port int
	local    netip.Addr
	parent   string
}

// linkAddress is an address of a device. Of one with a peer, the peer is what the device's route leads to.
type linkAddress struct {
	prefix netip.Prefix
	peer   netip.Prefix
	scope  Scope
	old    bool // deprecated
}

// links are all devices of a node that some text names, in the order in which they are named first.
type links []*link

func (all *links) find(name string) *link {
	for _, l := range *all {
		if l.name == name {
			return l
		}
	}
	l := &link{name: name}
	*all = append(*all, l)
	return l
}

// linkHead is the first line of a device: "5: veth1@if2: <BROADCAST,UP> mtu 1500 ...", with -o "2: eth0    inet 10.0.0.2/24 ...", of old
// bridge(8) "5: veth1 state UP @(null): <...> ...".
var linkHead = regexp.MustCompile(`^\d+: +([^\s:@]+)(?: state \w+ )?(@[^\s:]*)?:? +(.*)$`)

// linkPrompt is a line that was pasted along.
var linkPrompt = regexp.MustCompile(`^\s*$|^[$#]|[$#>%] *(sudo +)?(ip|bridge|brctl|ifconfig)\b|^\[sudo\] |^[\w.@~:/-]+[$#>%] *$|^\[[^\]]*\] *[$#>%] *$`)

// linkMore begins a line that goes on with a device, where its blanks were lost.
var linkMore = regexp.MustCompile(`^(link/|inet6? |valid_lft |altname |bridge_slave |RX:|TX:|hairpin )`)

// linksAreJSON begins what -j prints, and no prompt, "[root@node ~]#".
var linksAreJSON = regexp.MustCompile(`^\s*\[\s*[{\]]`)

// read takes over what ip link, ip addr or bridge link printed, with -d or without, with -o or without, or as -j.
func (all *links) read(text string) error {
	if linksAreJSON.MatchString(text) {
		return all.readJSON(text)
	}
	text = briefLinks(bridgeTable(text))
	var l *link
	number := 0
	for line := range strings.Lines(text) {
		number++
		for part := range strings.SplitSeq(strings.TrimRight(line, " \r\n"), `\`) {
			head := linkHead.FindStringSubmatch(part)
			var err error
			switch {
			case head != nil:
				l = all.find(head[1])
				l.under(strings.TrimPrefix(head[2], "@"))
				err = l.first(strings.Fields(head[3]))
			case l != nil && (strings.TrimLeft(part, " \t") != part || linkMore.MatchString(part)):
				err = l.more(strings.Fields(part))
			case !linkPrompt.MatchString(part):
				err = fmt.Errorf("%q is no line of ip link, ip addr or bridge link", short(part))
			}
			if err != nil {
				return fmt.Errorf("line %d: %w", number, err)
			}
		}
	}
	if len(*all) == 0 {
		return errors.New("there is no device in it: want what ip -d link, ip -d addr or bridge -d link prints")
	}
	return nil
}

// under takes over what the device is on top of, or the other end of.
func (l *link) under(other string) {
	if other != "" {
		l.upper, l.lower = true, other
	}
}

// first reads what stands behind a device's name.
func (l *link) first(words []string) error {
	if len(words) == 0 || !strings.HasPrefix(words[0], "<") {
		return l.more(words)
	}
	for i, word := range words[:max(len(words)-1, 0)] {
		switch value := words[i+1]; word {
		case "mtu":
			n, err := strconv.Atoi(value)
			if err != nil {
				return fmt.Errorf("mtu %s: want a number", value)
			}
			l.mtu = n
		case "master":
			l.master = value
		case "priority": // bridge link alone has it
			l.slave = "bridge"
		}
	}
	return nil
}

// linkPassed begins lines that tell nothing that counts here.
var linkPassed = regexp.MustCompile(`^(valid_lft|RX|TX|alias|altname|vf|\d+|prog|port|parentbus)\b`)

// more reads a further line of a device.
func (l *link) more(words []string) error {
	if len(words) == 0 || linkPassed.MatchString(words[0]) {
		return nil
	}
	kind, slave := strings.CutSuffix(words[0], "_slave")
	switch of, is := strings.CutPrefix(words[0], "link/"); {
	case is:
		if l.linkType = of; of == "ether" && len(words) > 1 {
			l.mac = words[1]
		}
	case words[0] == "inet" || words[0] == "inet6":
		return l.address(words[1:])
	case slave:
		l.slave = kind
	case words[0] == "hairpin":
		l.slave = "bridge"
	case l.kind == "":
		l.kind = kind
	}
	l.details = l.details || slices.Contains(words, "promiscuity")
	if words[0] == "vxlan" {
		return l.vxlanLine(words[1:])
	}
	for i := range len(words) - 1 {
		l.setting(words[i], words[i+1])
	}
	return nil
}

// vxlanLine reads "id 4096 local 192.0.2.10 dev eth0 srcport 0 0 dstport 4789 nolearning ttl auto".
func (l *link) vxlanLine(words []string) (err error) {
	for i := range len(words) - 1 {
		switch value := words[i+1]; words[i] {
		case "id":
			l.vxlan.id, err = strconv.Atoi(value)
		case "dstport":
			l.vxlan.port, err = strconv.Atoi(value)
		case "local", "local6":
			l.vxlan.local, err = netip.ParseAddr(value)
		case "dev":
			l.vxlan.parent = value
		}
		if err != nil {
			return fmt.Errorf("vxlan %s %s: %w", words[i], short(words[i+1]), err)
		}
	}
	return nil
}

// setting reads one option of a bridge, or of a port of one.
func (l *link) setting(name, value string) {
	on := map[string]Switch{"on": SwitchOn, "1": SwitchOn, "true": SwitchOn, "off": SwitchOff, "0": SwitchOff, "false": SwitchOff}[value]
	switch name {
	case "hairpin":
		l.hairpin = on
	case "nf_call_iptables":
		l.calls = on
	case "nf_call_ip6tables":
		l.own6 = on
	case "vlan_filtering":
		l.filters = on == SwitchOn
	case "isolated":
		if on == SwitchOn {
			l.notes = append(l.notes, fmt.Sprintf("%s: %s %s is not modelled", l.name, name, value))
		}
	}
}

// address reads what stands behind inet or inet6.
func (l *link) address(words []string) error {
	if len(words) == 0 {
		return errors.New("an address is missing")
	}
	p, err := ParsePrefix(words[0])
	switch ofLink := slices.Contains(words, "scope") && slices.Contains(words, "link"); {
	case err != nil && ofLink && strings.HasPrefix(words[0], "fe80:"): // hidden, which says nothing: every device has one
		return nil
	case err != nil:
		return fmt.Errorf("%q is no address: %w", short(words[0]), err)
	}
	a := linkAddress{prefix: p, old: slices.Contains(words, "deprecated")}
	for i, word := range words[:len(words)-1] {
		switch value := words[i+1]; word {
		case "peer":
			if a.peer, err = ParsePrefix(value); err != nil {
				return fmt.Errorf("peer %q is no address: %w", short(value), err)
			}
		case "scope":
			a.scope = map[string]Scope{"link": ScopeLink, "host": ScopeHost}[value]
		}
	}
	if slices.Contains(words, "tentative") || slices.Contains(words, "dadfailed") {
		if !p.Addr().IsLinkLocalUnicast() { // which every device has one of, and packets beyond the link none
			l.notes = append(l.notes, fmt.Sprintf("%s: %s is not used: another host may have it (duplicate address detection)", l.name, p))
		}
		return nil
	}
	l.add(a)
	return nil
}

// add adds an address, once, but for those that every node has.
func (l *link) add(a linkAddress) {
	if every := l.name == "lo" && (a.prefix.String() == "127.0.0.1/8" || a.prefix.String() == "::1/128"); !every && !slices.Contains(l.addresses, a) {
		l.addresses = append(l.addresses, a)
	}
}

// linkJSON is a device as ip -j and bridge -j print it.
type linkJSON struct {
	Name     string `json:"ifname"`
	Link     string `json:"link"`
	LinkPeer *int   `json:"link_index"`
	Details  *int   `json:"promiscuity"`
	MTU      int    `json:"mtu"`
	Master   string `json:"master"`
	LinkType string `json:"link_type"`
	MAC      string `json:"address"`
	Hairpin  *bool  `json:"hairpin"`
	Isolated bool   `json:"isolated"`
	Priority *int   `json:"priority"`
	LinkInfo struct {
		Kind  string                     `json:"info_kind"`
		Data  map[string]json.RawMessage `json:"info_data"`
		Slave string                     `json:"info_slave_kind"`
		Port  map[string]json.RawMessage `json:"info_slave_data"`
	} `json:"linkinfo"`
	Addresses []struct {
		Local  netip.Addr `json:"local"`
		Peer   netip.Addr `json:"address"`
		Length int        `json:"prefixlen"`
		Scope  string     `json:"scope"`
		Old    bool       `json:"deprecated"`
	} `json:"addr_info"`
}

func (all *links) readJSON(text string) error {
	var devices []linkJSON
	if err := json.Unmarshal([]byte(text), &devices); err != nil {
		return fmt.Errorf("not what ip -j or bridge -j prints: %w", err)
	}
	for _, d := range devices {
		if d.Name == "" { // ip prints an empty object for each that it was not asked for
			continue
		}
		l := all.find(d.Name)
		l.under(d.Link)
		l.upper = l.upper || d.LinkPeer != nil
		l.takeJSON(&d)
		for _, a := range d.Addresses {
			one := linkAddress{prefix: netip.PrefixFrom(a.Local, a.Length), scope: map[string]Scope{"link": ScopeLink, "host": ScopeHost}[a.Scope], old: a.Old}
			if a.Peer.IsValid() && a.Peer != a.Local {
				one.prefix, one.peer = netip.PrefixFrom(a.Local, a.Local.BitLen()), netip.PrefixFrom(a.Peer, a.Length)
			}
			if !one.prefix.IsValid() {
				return fmt.Errorf("%s: %s/%d is no address", d.Name, a.Local, a.Length)
			}
			l.add(one)
		}
	}
	return nil
}

// takeJSON takes over what a text tells of a device and others do not.
func (l *link) takeJSON(d *linkJSON) {
	for _, word := range []struct {
		into *string
		text string
	}{{&l.master, d.Master}, {&l.linkType, d.LinkType}, {&l.kind, d.LinkInfo.Kind}, {&l.slave, d.LinkInfo.Slave}, {&l.mac, d.MAC}} {
		if word.text != "" {
			*word.into = word.text
		}
	}
	l.mtu, l.details = max(l.mtu, d.MTU), l.details || d.Details != nil
	if d.Hairpin != nil || d.Priority != nil {
		l.slave = "bridge"
	}
	if d.Hairpin != nil {
		l.setting("hairpin", strconv.FormatBool(*d.Hairpin))
	}
	l.setting("isolated", strconv.FormatBool(d.Isolated))
	if d.LinkInfo.Kind == "vxlan" {
		l.vxlanJSON(d.LinkInfo.Data)
	}
	for _, data := range []map[string]json.RawMessage{d.LinkInfo.Data, d.LinkInfo.Port} {
		for name, value := range data { // in any order: each is of one setting
			if name != "type" {
				l.setting(name, string(value))
			}
		}
	}
}

// vxlanJSON takes over a VXLAN device's data; what is not as ip(8) prints it stays zero.
func (l *link) vxlanJSON(data map[string]json.RawMessage) {
	for name, into := range map[string]any{"id": &l.vxlan.id, "port": &l.vxlan.port, "local": &l.vxlan.local, "link": &l.vxlan.parent} {
		if text, ok := data[name]; ok {
			_ = json.Unmarshal(text, into)
		}
	}
}
