package test

import (
	"fmt"
	"strings"

	"natlab/nat"
)

// fresh stands in a rule set for a number that no other rule set has: the kernel keeps what goes by a name from one to the next.
const fresh = "FRESH"

// further draws a match that rule sets seldom have; hooks are those of the chain, "" for one that others call.
func (d drawn) further(table string, c ruleChain) string {
	list := []string{
		" -m recent --name r" + fresh + " --set", " -m recent --name r" + fresh + " --rcheck --hitcount 2", " -m recent --name r" + fresh + " --update --rdest",
		" -m recent --name r" + fresh + " --remove", " -m quota --quota 300", " -m quota ! --quota 100", " -m nfacct --nfacct-name ct_state_invalid_dropped_pkts",
		" -m time --datestart 2020-01-01T00:00:00 --datestop 2037-01-01T00:00:00", " -m time --datestop 2020-01-01T00:00:00",
		" -m hashlimit --hashlimit-upto 1/hour --hashlimit-burst 2 --hashlimit-mode srcip --hashlimit-name h" + fresh,
		" -m hashlimit --hashlimit-above 1/hour --hashlimit-burst 3 --hashlimit-mode dstip,dstport --hashlimit-name g" + fresh,
	}
	if table != "raw" {
		list = append(list,
			" -m connbytes --connbytes 100 --connbytes-mode bytes --connbytes-dir both", " -m connbytes ! --connbytes 2:3 --connbytes-mode packets --connbytes-dir original",
			" -m connbytes --connbytes 0:60 --connbytes-mode avgpkt --connbytes-dir reply",
			" -m connlabel --label 5 --set", " -m connlabel ! --label 5", ` -m helper --helper "ftp"`,
			` -m helper ! --helper ""`, " -m cluster --cluster-total-nodes 2 --cluster-local-node 1 --cluster-hash-seed 0x00000007",
			" -m cluster --cluster-total-nodes 3 ! --cluster-local-nodemask 0x00000003 --cluster-hash-seed 0x000000ff",
			" -m conntrack --ctproto 17", " -m conntrack --ctdir REPLY", " -m conntrack --ctorigdstport 80", " -m conntrack --ctreplsrc 10.244.0.0/16", " -m conntrack --ctstatus ASSURED",
			" -m conntrack --ctstatus SEEN_REPLY,CONFIRMED", " -m conntrack ! --ctorigsrc 192.168.1.0/24", " -m conntrack --ctstate NEW --ctproto 6 --ctrepldstport 1000:2000",
		)
	}
	switch {
	case c.name == "PREROUTING" && (table == "raw" || table == "mangle"):
		list = append(list, " -m rpfilter", " -m rpfilter --loose", " -m rpfilter --invert", " -m rpfilter --validmark --accept-local")
	case c.name == "OUTPUT":
		list = append(list, " -m owner --uid-owner 0", " -m owner ! --uid-owner 0", " -m owner --socket-exists", " -m owner ! --gid-owner 0")
	}
	if strings.Contains(c.hooks, "i") {
		list = append(list, " -m physdev --physdev-in in0", " -m physdev ! --physdev-is-bridged", " -m physdev ! --physdev-in pod0",
			" -m mac --mac-source "+neighbour, " -m mac ! --mac-source "+neighbour) // which no packet by a TUN device has
	}
	return pick(d, list)
}

// fewCopies is a TEE that ends after some packets: copies that another rule leads back to the node would be copied again, and again.
const fewCopies = " -m limit --limit 1/hour --limit-burst 9 -j TEE --gateway "

// npt draws a translation of prefixes, mostly of addresses that have the prefix: only of these the checksums stay right.
func (d drawn) npt(target, side string) string {
	of := ""
	if !d.chance(4) {
		of = " -m iprange --" + side + "-range fd00::-fd00::ffff:ffff:ffff:ffff"
	}
	return of + " -j " + target + pick(d, []string{
		" --src-pfx fd00::/64 --dst-pfx fd00:0:0:9::/64", " --src-pfx fd00::/48 --dst-pfx fd00:1::/48", " --src-pfx fd00::/64 --dst-pfx fd00::/64", " --src-pfx fd00::/48 --dst-pfx fd00:2:3::/56",
	})
}

// furtherTarget draws a target that rule sets seldom have.
func (d drawn) furtherTarget(table string, c ruleChain) string {
	list := []string{
		` -j LOG --log-prefix "seen " --log-level 7`, " -j NFLOG --nflog-group 9", " -j NFQUEUE --queue-num 9 --queue-bypass", " -j NFQUEUE --queue-balance 3:5 --queue-bypass",
	}
	switch table {
	case "raw":
		list = append(list, " -j TRACE", fewCopies+"192.168.1.10")
	case "filter":
		list = append(list, " -j NFQUEUE --queue-num 9")
	case "mangle":
		list = append(list, " -j HMARK --hmark-tuple src,dst,sport,dport,proto --hmark-mod 16 --hmark-offset 0x40 --hmark-rnd 0x01020304",
			" -j CONNSECMARK --save", " -j CONNSECMARK --restore",
			" -j HMARK --hmark-tuple ct,src,dst --hmark-mod 8 --hmark-offset 0x4000 --hmark-rnd 0x000000ff")
		if strings.Contains(c.hooks, "o") {
			list = append(list, " -j CLASSIFY --set-class 0001:0010")
		}
		list = append(list, fewCopies+pick(d, []string{"10.0.0.20", "10.244.0.5", "192.168.1.10", "203.0.113.9", "10.0.0.20 --oif out0", "10.99.0.1", "192.168.1.10 --oif pod0"}))
		switch {
		case d.family == nat.IPv4:
		case c.name == "PREROUTING" || c.name == "OUTPUT":
			list = append(list, d.npt("DNPT", "dst"), d.npt("DNPT", "dst"))
		case c.name == "INPUT" || c.name == "POSTROUTING":
			list = append(list, d.npt("SNPT", "src"), d.npt("SNPT", "src"))
		}
	}
	return pick(d, list)
}

// securityTransport draws what is asked of IPsec's headers and of DCCP's.
func (d drawn) securityTransport(proto string) string {
	low := d.n(3) * 100
	spi := fmt.Sprintf("%d:%d", low, low+1+d.n(2)*4294960000)
	switch proto {
	case "ah":
		return fmt.Sprintf(" -m ah %s--ahspi %s", d.not(), spi)
	case "esp":
		return fmt.Sprintf(" -m esp %s--espspi %s", d.not(), spi)
	case "ipcomp":
		return fmt.Sprintf(" -m ipcomp %s--ipcompspi %s", d.not(), spi)
	case "dccp":
		return pick(d, []string{" -m dccp --dport 80", " -m dccp --sport 1:1000 ! --dport 443", " -m dccp --dccp-types REQUEST,DATA", " -m dccp ! --dccp-types RESPONSE,INVALID", " -m dccp --dccp-option 44"})
	}
	return ""
}
