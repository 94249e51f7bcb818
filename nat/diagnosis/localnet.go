package diagnosis

import (
	"fmt"

	"natlab/nat"
	"natlab/topology"
)

// localnet is that no device but lo takes what is from or for an address of loopback: by its setting, which is cured where it stands.
func (c Case) localnet(p nat.Prediction) []Cause {
	if c.Ask.Tuple.Dst().Addr().Is6() || !c.with(c.everyDevice("route_localnet", "1")...).helps(p) {
		return nil
	}
	for _, d := range c.Namespace.Devices {
		if c.with(topology.Sysctl{Key: "net/ipv4/conf/" + d.Name + "/route_localnet", Value: "1"}).helps(p) {
			return []Cause{{Code: "localnet.off", What: fmt.Sprintf("%s takes nothing from or for an address of loopback: net.ipv4.conf.%s.route_localnet is 0, and that of all, too: %s", d.Name, d.Name, firstWhy(p))}}
		}
	}
	return []Cause{{Code: "localnet.off", What: "no device takes what is from or for an address of loopback: net.ipv4.conf.all.route_localnet is 0: " + firstWhy(p)}}
}
