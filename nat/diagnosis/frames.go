package diagnosis

import (
	"fmt"
	"slices"

	"natlab/nat"
	"natlab/topology"
)

// framed is a table of nft's whose rules a packet or its answer meets outside of IP, in a device (families netdev and inet, hooks ingress and egress) or in
// a bridge (family bridge): there it may be dropped or rewritten, and natlab does not follow it.
func (c Case) framed(p nat.Prediction) (string, bool) {
	for _, f := range c.Facts.NFT.Frames() {
		if c.meetsFrames(f.Bridge, f.Hook, f.Devices, p) {
			return fmt.Sprintf("what the rules of nft table %s do, which natlab does not follow (%s)", f.Table, f.Rule), true
		}
	}
	return "", false
}

// meetsFrames reports whether a packet, or its answer, comes to a base chain that is not one of IP's.
func (c Case) meetsFrames(bridge bool, hook string, devices []string, p nat.Prediction) bool {
	meets := func(dev string, in bool) bool {
		if dev == "" {
			return false
		}
		switch hook {
		case "ingress":
			return in && slices.ContainsFunc(devices, func(d string) bool { return c.carries(d, dev) })
		case "egress":
			return !in && slices.ContainsFunc(devices, func(d string) bool { return c.carries(d, dev) })
		case "prerouting", "input":
			return bridge && in && c.bridges(dev)
		case "output", "postrouting":
			return bridge && !in && c.bridges(dev)
		}
		return bridge && c.bridges(dev) // forward: on its way from port to port
	}
	for _, o := range p {
		in := c.Ask.In
		for _, j := range []nat.Journey{o.Request, o.Reply} {
			for _, h := range j.Hops {
				if h.Node == c.Namespace.Member && h.Tap == nat.TapPreRaw {
					in = h.Dev
				}
			}
			out := ""
			if h := leaves(j); h.Node == c.Namespace.Member {
				out = h.Dev
			}
			if hook == "forward" && in != out && len(j.Hops) > 0 {
				continue
			}
			if meets(in, true) || meets(out, false) {
				return true
			}
			in = ""
		}
	}
	return false
}

// bridges reports whether a device is a bridge, or a port of one.
func (c Case) bridges(name string) bool {
	d, ok := c.device(name)
	return ok && (d.Kind == topology.Bridge || d.Master != "")
}

// carries reports whether what goes by a device passes the other one too: it is the same, or a port of that bridge.
func (c Case) carries(lower, name string) bool {
	if lower == name {
		return true
	}
	d, ok := c.device(lower)
	return ok && d.Master == name
}

func (c Case) device(name string) (topology.Device, bool) {
	i := slices.IndexFunc(c.Namespace.Devices, func(d topology.Device) bool { return d.Name == name })
	if i < 0 {
		return topology.Device{}, false
	}
	return c.Namespace.Devices[i], true
}
