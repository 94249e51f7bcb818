package realise

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"natlab/topology"
)

// The settings of IPv4 that a device has (net/ipv4/conf/DEVICE) are also told and taken by rtnetlink, all of them in one message:
// IFLA_INET_CONF in IFLA_AF_SPEC (inet_fill_link_af, inet_set_link_af). A look below /proc/sys/net costs far more, since every namespace has a
// tree of its own there, and a large lab has thousands of such settings.

// inetConf numbers the settings that natlab knows (IPV4_DEVCONF_*, linux/ip.h). Not forwarding: to write it does more than to set it.
var inetConf = map[string]uint16{"proxy_arp": 3, "send_redirects": 6, "rp_filter": 8, "accept_local": 23, "route_localnet": 26}

// Where the settings of a device are below /proc/sys.
const (
	treeConf  = "net/ipv4/conf/"
	treeNeigh = "net/ipv4/neigh/"
)

// proxyDelay is the setting of ARP that a device has, net/ipv4/neigh/DEVICE/proxy_delay.
const proxyDelay = "proxy_delay"

// Of linux/neighbour.h.
const (
	ndtaName        = 1  // NDTA_NAME
	ndtaParms       = 6  // NDTA_PARMS
	ndtpaIfindex    = 1  // NDTPA_IFINDEX
	ndtpaProxyDelay = 13 // NDTPA_PROXY_DELAY, milliseconds as u64
)

// deviceSetting takes a key apart that is a setting of one device and that rtnetlink has: its device, and the setting's name.
func deviceSetting(key string) (device, name string, ok bool) {
	for _, tree := range []string{treeConf, treeNeigh} {
		rest, below := strings.CutPrefix(key, tree)
		if !below {
			continue
		}
		if device, name, ok = strings.Cut(rest, "/"); !ok || device == "all" || device == "default" {
			return "", "", false
		}
		_, known := inetConf[name]
		return device, name, known && tree == treeConf || name == proxyDelay && tree == treeNeigh
	}
	return "", "", false
}

// sysctls are those of the Plan, and those that the emulator reads besides and that are on.
func (r *reader) sysctls() ([]topology.Sysctl, error) {
	out := slices.Clone(r.plan.Sysctls)
	conf, err := readConf(r.names)
	if err != nil {
		return nil, err
	}
	read := func(key string) (string, bool) {
		if value, has := conf[key]; has {
			return value, true
		}
		return r.settings.read(key)
	}
	known := map[string]bool{}
	for i := range out {
		known[out[i].Key] = true
		if value, has := read(out[i].Key); has {
			out[i].Value = value
		}
	}
	devices := []string{"all"}
	for _, d := range r.plan.Devices {
		devices = append(devices, d.Name)
	}
	for _, dev := range devices {
		for _, name := range []string{"rp_filter", "route_localnet", "accept_local"} {
			key := treeConf + dev + "/" + name
			if value, has := read(key); has && !known[key] && value != "0" {
				out = append(out, topology.Sysctl{Key: key, Value: value})
			}
		}
	}
	if !r.plan.Dumped { // whose settings stand in the order in which they are made
		slices.SortFunc(out, func(a, b topology.Sysctl) int { return strings.Compare(a.Key, b.Key) })
	}
	return out, nil
}

// readConf reads those settings of all devices of the thread's namespace, by their keys. One that is not there has to be read as a file.
func readConf(names map[int]string) (map[string]string, error) {
	out := map[string]string{}
	links := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP)
	links.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	all, err := links.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	if err != nil {
		return nil, fmt.Errorf("list settings of devices: %w", err)
	}
	for _, m := range all {
		conf := nested(m[unix.SizeofIfInfomsg:], unix.IFLA_AF_SPEC, unix.AF_INET, unix.IFLA_INET_CONF)
		device := names[int(nl.DeserializeIfInfomsg(m).Index)]
		for name, number := range inetConf {
			if end := 4 * int(number); device != "" && end <= len(conf) {
				out[treeConf+device+"/"+name] = strconv.Itoa(int(int32(binary.NativeEndian.Uint32(conf[end-4:]))))
			}
		}
	}
	tables := nl.NewNetlinkRequest(unix.RTM_GETNEIGHTBL, unix.NLM_F_DUMP)
	tables.AddData(ofARP{})
	if all, err = tables.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNEIGHTBL); err != nil {
		return nil, fmt.Errorf("list settings of ARP: %w", err)
	}
	for _, m := range all {
		index, delay := nested(m[ofARP{}.Len():], ndtaParms, ndtpaIfindex), nested(m[ofARP{}.Len():], ndtaParms, ndtpaProxyDelay)
		if len(index) == 4 && len(delay) == 8 && binary.NativeEndian.Uint64(delay) == 0 {
			if device := names[int(binary.NativeEndian.Uint32(index))]; device != "" {
				out[treeNeigh+device+"/"+proxyDelay] = "0"
			}
		}
	}
	return out, nil
}

// ofARP is a struct ndtmsg.
type ofARP struct{}

func (ofARP) Len() int { return 4 }

func (ofARP) Serialize() []byte { return []byte{unix.AF_INET, 0, 0, 0} }

// nested is the payload of an attribute within others; nil where one is not there.
func nested(b []byte, path ...uint16) []byte {
	for _, kind := range path {
		all, err := nl.ParseRouteAttr(b)
		if err != nil {
			return nil
		}
		at := slices.IndexFunc(all, func(a syscall.NetlinkRouteAttr) bool { return a.Attr.Type&^unix.NLA_F_NESTED == kind })
		if at < 0 {
			return nil
		}
		b = all[at].Value
	}
	return b
}

// setConf gives the builder's devices the settings that rtnetlink takes, a message a device, and returns the others.
func (b *builder) setConf(settings []topology.Sysctl) (others []topology.Sysctl) {
	conf := map[string][]topology.Sysctl{}
	for _, s := range settings {
		device, name, ok := deviceSetting(s.Key)
		switch {
		case !ok || b.index[device] == 0:
			others = append(others, s)
		case name != proxyDelay:
			conf[device] = append(conf[device], s)
		case s.Value != "0" || b.ask(noProxyDelay(b.index[device])) != nil: // what it counts in differs between the two
			others = append(others, s)
		}
	}
	for _, device := range slices.Sorted(maps.Keys(conf)) {
		request, ok := confOf(b.index[device], conf[device])
		if !ok || b.ask(request) != nil { // the file tells which is refused, and why
			others = append(others, conf[device]...)
		}
	}
	return others
}

// confOf asks for settings of a device (RTM_SETLINK); false: one is no number.
func confOf(index int, settings []topology.Sysctl) (*nl.NetlinkRequest, bool) {
	request := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	request.AddData(msg)
	spec := nl.NewRtAttr(unix.IFLA_AF_SPEC|unix.NLA_F_NESTED, nil)
	conf := spec.AddRtAttr(unix.AF_INET|unix.NLA_F_NESTED, nil).AddRtAttr(unix.IFLA_INET_CONF|unix.NLA_F_NESTED, nil)
	for _, s := range settings {
		_, name, _ := deviceSetting(s.Key)
		value, err := strconv.ParseInt(s.Value, 10, 32)
		if err != nil {
			return nil, false
		}
		conf.AddRtAttr(int(inetConf[name]), nl.Uint32Attr(uint32(value)))
	}
	request.AddData(spec)
	return request, true
}

// noProxyDelay has a device answer for others at once (RTM_SETNEIGHTBL).
func noProxyDelay(index int) *nl.NetlinkRequest {
	request := nl.NewNetlinkRequest(unix.RTM_SETNEIGHTBL, unix.NLM_F_ACK)
	request.AddData(ofARP{})
	request.AddData(nl.NewRtAttr(ndtaName, nl.ZeroTerminated("arp_cache")))
	of := nl.NewRtAttr(ndtaParms|unix.NLA_F_NESTED, nil)
	of.AddRtAttr(ndtpaIfindex, nl.Uint32Attr(uint32(index)))
	of.AddRtAttr(ndtpaProxyDelay, make([]byte, 8))
	request.AddData(of)
	return request
}

// ask sends a request by the builder's own socket.
func (b *builder) ask(request *nl.NetlinkRequest) error {
	request.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: b.socket}}
	_, err := request.Execute(unix.NETLINK_ROUTE, 0)
	return err
}
