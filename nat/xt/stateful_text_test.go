package xt_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/iptables"
)

// spelling is a rule as somebody writes it, and as iptables-save prints it; "" where iptables refuses it.
type spelling struct{ written, saved string }

// checkSpellings reads each rule, of IPv4.
func checkSpellings(t *testing.T, rows []spelling) {
	t.Helper()
	for _, row := range rows {
		r, err := iptables.ParseRule(row.written, nat.IPv4)
		if row.saved == "" {
			require.Error(t, err, row.written)
			continue
		}
		require.NoError(t, err, row.written)
		require.Equal(t, "-A X "+row.saved, r.Text("X"), row.written)
	}
}

// As iptables 1.8.9 answered each of them.
func TestConntrackSpellings(t *testing.T) {
	t.Parallel()
	checkSpellings(t, []spelling{
		{"-m conntrack --ctorigsrc 10.1.2.3/8", "-m conntrack --ctorigsrc 10.1.2.3/8"},
		{"-m conntrack --ctorigsrc 10.1.2.3/255.0.255.0", "-m conntrack --ctorigsrc 10.1.2.3"}, // a mask with a hole is a full one
		{"-m conntrack --ctorigsrc 10.1.2.3/255.255.0.0", "-m conntrack --ctorigsrc 10.1.2.3/16"},
		{"-m conntrack --ctorigsrc 10.1.2.3/0", "-m conntrack --ctorigsrc 10.1.2.3/0"},
		{"-m conntrack --ctorigsrc 10.1.2.3/33", ""},
		{"-m conntrack --ctorigsrc 10.1.2", "-m conntrack --ctorigsrc 10.1.0.2"},
		{"-m conntrack --ctstate e,n,Sn", "-m conntrack --ctstate NEW,ESTABLISHED,SNAT"},
		{"-m conntrack --ctstate NEWER", ""},
		{"-m conntrack --ctstate NEW,", ""},
		{"-m conntrack --ctproto TCP", "-m conntrack --ctproto 6"},
		{"-m conntrack ! --ctproto 0", "-m conntrack ! --ctproto 0"},
		{"-m conntrack --ctproto 256", ""},
		{"-m conntrack --ctproto tcp --ctproto 6", ""},
		{"-m conntrack --ctorigdstport 80:", "-m conntrack --ctorigdstport 80:65535"},
		{"-m conntrack --ctorigdstport :80", "-m conntrack --ctorigdstport 0:80"},
		{"-m conntrack --ctorigdstport :", "-m conntrack --ctorigdstport 0:65535"},
		{"-m conntrack --ctorigdstport 5:0", "-m conntrack --ctorigdstport 5"},
		{"-m conntrack --ctorigdstport 65536", ""},
		{"-m conntrack --ctexpire 5:", "-m conntrack --ctexpire 5:4294967295"},
		{"-m conntrack --ctexpire 7:5", "-m conntrack --ctexpire 7:5"},
		{"-m conntrack --ctexpire 42949672956", ""},
		{"-m conntrack --ctexpire -1", ""},
		{"-m conntrack --ctstatus none", "-m conntrack --ctstatus NONE"},
		{"-m conntrack --ctstatus N,A", "-m conntrack --ctstatus ASSURED"},
		{"-m conntrack --ctdir reply", "-m conntrack --ctdir REPLY"},
		{"-m conntrack --ctdir rep", ""},
		{"-m conntrack ! --ctdir REPLY", ""},
		{"-m conntrack", ""},
		{"-m conntrack --state NEW", ""},
		{"-m state --state UNTR", "-m state --state UNTRACKED"},
		{"-m state ! --state new,rel", "-m state ! --state NEW,RELATED"},
		{"-m state --state SNAT", ""},
		{"-m state --state NEW --state NEW", ""},
		{"-m state --ctstate NEW", ""},
		{"-m state", ""},
	})
}

// As iptables 1.8.9 answered each of them.
func TestConnMarkSpellings(t *testing.T) {
	t.Parallel()
	checkSpellings(t, []spelling{
		{"-m connmark --mark 0/0xffffffff", "-m connmark --mark 0x0"},
		{"-m connmark --mark 1 --mark 2", ""},
		{"-m connmark --mark 0xfffffffff", ""},
		{"-m connmark --mark -1", ""},
		{"-m connmark", ""},
		{"-j CONNMARK --restore-mark", "-j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff"},
		{"-j CONNMARK --set-mark 5 --mask 0xff", "-j CONNMARK --set-xmark 0x5/0xff"}, // the later one tells
		{"-j CONNMARK --mask 0xff --set-mark 5", "-j CONNMARK --set-xmark 0x5/0xffffffff"},
		{"-j CONNMARK --set-mark 0x3/0x1", "-j CONNMARK --set-xmark 0x3/0x3"},
		{"-j CONNMARK --and-mark 0xff", "-j CONNMARK --set-xmark 0x0/0xffffff00"},
		{"-j CONNMARK --and-mark 0xff/0xf", ""},
		{"-j CONNMARK --save-mark --mask 0xff", "-j CONNMARK --save-mark --nfmask 0xff --ctmask 0xff"},
		{"-j CONNMARK --save-mark --mask 0xff --nfmask 1", ""},
		{"-j CONNMARK --save-mark --ctmask 0xff --nfmask 1 --left-shift-mark 4 --right-shift-mark 5", "-j CONNMARK --save-mark --nfmask 0x1 --ctmask 0xff --right-shift-mark 5"},
		{"-j CONNMARK --save-mark --right-shift-mark 0", "-j CONNMARK --save-mark --nfmask 0xffffffff --ctmask 0xffffffff"},
		{"-j CONNMARK --save-mark --left-shift-mark 33", ""},
		{"-j CONNMARK --save-mark --restore-mark", ""},
		{"-j CONNMARK --left-shift-mark 3", ""},
		{"-j CONNMARK", ""},
	})
}

// As iptables 1.8.9 answered each of them.
func TestCTSpellings(t *testing.T) {
	t.Parallel()
	checkSpellings(t, []spelling{
		{"-p tcp -j CT --helper ftp", "-p tcp -j CT --helper ftp"},
		{"-p tcp -j CT --helper ftp --timeout short", "-p tcp -j CT --helper ftp --timeout short"},
		{"-j CT --helper ftp", ""},
		{"! -p tcp -j CT --timeout short", ""},
		{"-j CT --zone 1 --zone-orig 2", "-j CT --zone-orig 2"},
		{"-j CT --zone-reply 3 --zone-orig 2", "-j CT --zone 2"}, // both directions are both
		{"-j CT --zone mark --zone-orig 2", "-j CT --zone-orig mark"},
		{"-j CT --zone MARK", "-j CT --zone mark"},
		{"-j CT --zone-orig 0", "-j CT"},
		{"-j CT --zone 65536", ""},
		{"-j CT --zone -1", ""},
		{"-j CT --ctevents new,new", "-j CT --ctevents new"},
		{"-j CT --ctevents NEW", ""},
		{"-j CT --ctevents new,", ""},
		{"-j CT --expevents related", ""},
		{"-j CT --notrack --zone 5", "-j CT --notrack --zone 5"},
		{"-j CT --notrack --notrack", ""},
		{"-j NOTRACK", "-j NOTRACK"},
		{"-j NOTRACK --notrack", ""},
	})
}

// As iptables 1.8.9 answered each of them, and 1/day with a burst of 5 iptables-nft alone.
func TestLimitSpellings(t *testing.T) {
	t.Parallel()
	checkSpellings(t, []spelling{
		{"-m limit", "-m limit --limit 3/hour"},
		{"-m limit --limit 1/day", "-m limit --limit 1/day"},
		{"-m limit --limit 5abc/s", "-m limit --limit 5/sec"},
		{"-m limit --limit 5", "-m limit --limit 5/sec"},
		{"-m limit --limit 7/MIN", "-m limit --limit 7/min"},
		{"-m limit --limit 3000/hour", "-m limit --limit 50/min"},
		{"-m limit --limit 10000/s", "-m limit --limit 10000/sec"},
		{"-m limit --limit 10001/s", ""},
		{"-m limit --limit 0x10/sec", ""},
		{"-m limit --limit -1", ""},
		{"-m limit --limit 3/", ""},
		{"-m limit --limit 3/minutes", ""},
		{"-m limit --limit 5 --limit-burst 0", "-m limit --limit 5/sec"},
		{"-m limit --limit 5 --limit-burst 10001", ""},
		{"-m limit --limit 5/sec --limit 6/sec", ""},
		{"-m limit ! --limit 5/sec", ""},
		{"-m nfacct --nfacct-name one", "-m nfacct --nfacct-name  one"},
		{`-m nfacct --nfacct-name "a b"`, `-m nfacct --nfacct-name  "a b"`},
		{`-m nfacct --nfacct-name ""`, ""},
		{"-m nfacct", ""},
	})
}

// As iptables 1.8.9 answered each of them.
func TestStatisticSpellings(t *testing.T) {
	t.Parallel()
	checkSpellings(t, []spelling{
		{"-m statistic --mode nth --every 1 --packet 0", "-m statistic --mode nth --every 1 --packet 0"},
		{"-m statistic --mode nth --every 0 --packet 0", ""},
		{"-m statistic --mode nth --every 3", ""},
		{"-m statistic --mode nth --every 3 --packet 3", ""},
		{"-m statistic --mode nth --every 3 ! --packet 1", ""},
		{"-m statistic --mode nth ! --every 4294967295 --packet 1", "-m statistic --mode nth ! --every 4294967295 --packet 1"},
		{"-m statistic --mode nth --probability 0.5", ""},
		{"-m statistic --mode random --probability .5", "-m statistic --mode random --probability 0.50000000000"},
		{"-m statistic --probability 5e-1 --mode random", "-m statistic --mode random --probability 0.50000000000"},
		{"-m statistic --mode random --probability 0x1p-2", "-m statistic --mode random --probability 0.25000000000"},
		{"-m statistic --mode random --probability 1.1", ""},
		{"-m statistic --mode random --probability nan", ""},
		{"-m statistic --mode random --every 3 --packet 0", ""},
		{"-m statistic --mode RANDOM --probability 0.5", ""},
		{"-m statistic --probability 1", ""},
		{"-m statistic", ""},
	})
}

// As iptables 1.8.9 on Linux 6.18 answered each of them.
func TestRecentSpellings(t *testing.T) {
	t.Parallel()
	checkSpellings(t, []spelling{
		{"-m recent --set", "-m recent --set --name DEFAULT --mask 255.255.255.255 --rsource"},
		{"-m recent --update --rttl", "-m recent --update --rttl --name DEFAULT --mask 255.255.255.255 --rsource"},
		{"-m recent --rcheck --rdest --rsource", "-m recent --rcheck --name DEFAULT --mask 255.255.255.255 --rsource"},
		{"-m recent --rcheck --mask 255.255.0.255", "-m recent --rcheck --name DEFAULT --mask 255.255.0.255 --rsource"},
		{"-m recent --rcheck --seconds 4294967295", "-m recent --rcheck --seconds -1 --name DEFAULT --mask 255.255.255.255 --rsource"},
		{"-m recent --set --hitcount 0", "-m recent --set --name DEFAULT --mask 255.255.255.255 --rsource"},
		{"-m recent ! --rcheck --hitcount 256 --name x", "-m recent ! --rcheck --hitcount 256 --name x --mask 255.255.255.255 --rsource"},
		{"-m recent --rcheck --hitcount 65536", ""},
		{"-m recent --set --rttl", ""},
		{"-m recent --set --seconds 5", ""},
		{"-m recent --remove --hitcount 3", ""},
		{"-m recent --rcheck --seconds 0", ""},
		{"-m recent --rcheck --reap", ""},
		{"-m recent --rcheck --update", ""},
		{"-m recent --rcheck --name a/b", ""},
		{"-m recent --rcheck --name ..", ""},
		{"-m recent --rcheck --mask ffff::", ""},
		{"-m recent --name x", ""},
	})
}

// As iptables 1.8.9 answered each of them, but that it takes no label by name here: its file of names is not known.
func TestConnectionMatchSpellings(t *testing.T) {
	t.Parallel()
	checkSpellings(t, []spelling{
		{"-m connbytes --connbytes 5 --connbytes-mode packets --connbytes-dir both", "-m connbytes --connbytes 5 --connbytes-mode packets --connbytes-dir both"},
		{"-m connbytes --connbytes :5 --connbytes-dir both --connbytes-mode packets", "-m connbytes --connbytes 0:5 --connbytes-mode packets --connbytes-dir both"},
		{"-m connbytes --connbytes 5: --connbytes-mode bytes --connbytes-dir both", "-m connbytes --connbytes 5 --connbytes-mode bytes --connbytes-dir both"},
		{"-m connbytes --connbytes 0:0 --connbytes-mode bytes --connbytes-dir both", "-m connbytes --connbytes 0 --connbytes-mode bytes --connbytes-dir both"},
		{"-m connbytes ! --connbytes 5 --connbytes-mode bytes --connbytes-dir both", "-m connbytes ! --connbytes 5 --connbytes-mode bytes --connbytes-dir both"},
		{"-m connbytes --connbytes 7:6 --connbytes-mode bytes --connbytes-dir both", ""},
		{"-m connbytes --connbytes -1:0 --connbytes-mode bytes --connbytes-dir both", ""},
		{"-m connbytes --connbytes 0:18446744073709551616 --connbytes-mode bytes --connbytes-dir both", ""},
		{"-m connbytes --connbytes 7 ! --connbytes-mode bytes --connbytes-dir both", ""},
		{"-m connbytes --connbytes 7 --connbytes-mode wrong --connbytes-dir both", ""},
		{"-m connbytes --connbytes 7 --connbytes-mode bytes", ""},
		{"-m connlabel --label 0x10 --set", `-m connlabel --label "16" --set`},
		{"-m connlabel --label 128", ""},
		{`-m connlabel --label ""`, ""},
		{"-m connlabel --set", ""},
		{"-m connlabel --label 1 --label 2", ""},
		{"-m connlabel --label customers", `-m connlabel --label "customers"`},
		{"-m helper --helper 0123456789012345678901234567890123", "-m helper --helper 01234567890123456789012345678"},
		{`-m helper ! --helper ""`, `-m helper ! --helper ""`},
		{"-m helper", ""},
		{"-m cluster --cluster-total-nodes 32 --cluster-local-node 32 --cluster-hash-seed 1", "-m cluster --cluster-local-nodemask 0x80000000 --cluster-total-nodes 32 --cluster-hash-seed 0x00000001"},
		{"-m cluster --cluster-total-nodes 3 ! --cluster-local-nodemask 7 --cluster-hash-seed 1", "-m cluster ! --cluster-local-nodemask 0x00000007 --cluster-total-nodes 3 --cluster-hash-seed 0x00000001"},
		{"-m cluster --cluster-total-nodes 3 --cluster-local-nodemask 8 --cluster-hash-seed 1", ""},
		{"-m cluster --cluster-total-nodes 3 --cluster-local-node 4 --cluster-hash-seed 1", ""},
		{"-m cluster --cluster-total-nodes 3 --cluster-local-node 2 --cluster-local-nodemask 4 --cluster-hash-seed 1", ""},
		{"-m cluster --cluster-total-nodes 33 --cluster-local-node 2 --cluster-hash-seed 1", ""},
		{"-m cluster --cluster-total-nodes 3 --cluster-hash-seed 1", ""},
		{"-m cluster --cluster-total-nodes 3 --cluster-local-node 1", ""},
		{"-m connlimit --connlimit-upto 0", "-m connlimit --connlimit-upto 0 --connlimit-mask 32 --connlimit-saddr"},
		{"-m connlimit --connlimit-above 3 --connlimit-mask 255.255.0.0", "-m connlimit --connlimit-above 3 --connlimit-mask 16 --connlimit-saddr"},
		{"-m connlimit --connlimit-above 3 --connlimit-mask 255.0.255.0", "-m connlimit --connlimit-above 3 --connlimit-mask 32 --connlimit-saddr"},
		{"-m connlimit ! --connlimit-above 3 --connlimit-mask 0 --connlimit-daddr", "-m connlimit --connlimit-upto 3 --connlimit-mask 0 --connlimit-daddr"},
		{"-m connlimit --connlimit-above 3 --connlimit-upto 3", ""},
		{"-m connlimit --connlimit-above 3 --connlimit-above 3", ""},
		{"-m connlimit --connlimit-above 3 --connlimit-saddr --connlimit-daddr", ""},
		{"-m connlimit --connlimit-saddr", ""},
	})
}

// As iptables 1.8.9 on Linux 6.18 answered each of them.
func TestHashLimitSpellings(t *testing.T) {
	t.Parallel()
	var rows []spelling
	for _, row := range []spelling{
		{"--hashlimit 5 --hashlimit-name a", "--hashlimit-upto 5/sec --hashlimit-burst 5 --hashlimit-name a"},
		{"--hashlimit-upto 5/s --hashlimit-burst 0x10 --hashlimit-name b", "--hashlimit-upto 5/sec --hashlimit-burst 16 --hashlimit-name b"},
		{"--hashlimit-upto 5/s --hashlimit-burst 10k --hashlimit-name c", "--hashlimit-upto 5/sec --hashlimit-burst 10240 --hashlimit-name c"},
		{"--hashlimit-upto 5/s --hashlimit-burst 5x --hashlimit-name d", "--hashlimit-upto 5/sec --hashlimit-burst 5 --hashlimit-name d"},
		{"--hashlimit-upto 5/s --hashlimit-burst 1000001 --hashlimit-name c", ""},
		{"--hashlimit-upto 5/s --hashlimit-burst 0 --hashlimit-name c", ""},
		{"--hashlimit-upto 40/min --hashlimit-rate-match --hashlimit-name e", "--hashlimit-upto 40/sec --hashlimit-burst 5 --hashlimit-name e --hashlimit-htable-expire 60000 --hashlimit-rate-match --hashlimit-rate-interval 60"},
		{"--hashlimit-upto 40/min --hashlimit-rate-interval 5 --hashlimit-name f", "--hashlimit-upto 40/min --hashlimit-burst 5 --hashlimit-name f"},
		{"--hashlimit-upto 40/min --hashlimit-rate-interval 0 --hashlimit-name f", ""},
		{"--hashlimit-upto 3000/hour --hashlimit-name g", "--hashlimit-upto 50/min --hashlimit-burst 5 --hashlimit-name g --hashlimit-htable-expire 3600000"},
		{"--hashlimit-upto 96b/s --hashlimit-burst 5 --hashlimit-name g", ""},
		{"--hashlimit-upto 96b/s --hashlimit-burst 96b --hashlimit-name g2", "--hashlimit-upto 96b/s --hashlimit-burst 96b --hashlimit-name g2"},
		{"--hashlimit-upto 5mb/s --hashlimit-burst 11mb --hashlimit-name h", "--hashlimit-upto 5mb/s --hashlimit-burst 15mb --hashlimit-name h"},
		{"--hashlimit-upto b/s --hashlimit-name g", ""},
		{"--hashlimit-upto 1b/s --hashlimit-name g3", "--hashlimit-upto 0b/s --hashlimit-name g3"},
		{"--hashlimit-upto 1000000000mb/s --hashlimit-name g4", ""},
		{"--hashlimit-upto 1/s --hashlimit-mode srcip|dstport --hashlimit-name i", "--hashlimit-upto 1/sec --hashlimit-burst 5 --hashlimit-mode srcip,dstport --hashlimit-name i"},
		{"--hashlimit-upto 1/s --hashlimit-mode ,srcip,,dstip, --hashlimit-name j", "--hashlimit-upto 1/sec --hashlimit-burst 5 --hashlimit-mode srcip,dstip --hashlimit-name j"},
		{"--hashlimit-upto 1/s --hashlimit-mode src --hashlimit-name k", ""},
		{"--hashlimit-upto 1/s --hashlimit-srcmask 255.255.0.0 --hashlimit-name l", "--hashlimit-upto 1/sec --hashlimit-burst 5 --hashlimit-name l --hashlimit-srcmask 16"},
		{"--hashlimit-upto 1/s --hashlimit-srcmask 255.0.255.0 --hashlimit-name l", ""},
		{"--hashlimit-upto 1/s --hashlimit-dstmask 33 --hashlimit-name l", ""},
		{"--hashlimit-upto 1/s --hashlimit-htable-gcinterval 0 --hashlimit-name l", ""},
		{"--hashlimit-upto 1/s --hashlimit-htable-expire 0 --hashlimit-name l", ""},
		{"--hashlimit-upto 1/s --hashlimit-htable-expire 1000 --hashlimit-name m", "--hashlimit-upto 1/sec --hashlimit-burst 5 --hashlimit-name m"},
		{"--hashlimit-upto 1000001/s --hashlimit-name l", ""},
		{"--hashlimit-upto 1/s --hashlimit-above 1/s --hashlimit-name l", ""},
		{"! --hashlimit-above 1/s --hashlimit-name o", "--hashlimit-upto 1/sec --hashlimit-burst 5 --hashlimit-name o"},
		{"--hashlimit-upto 1/s --hashlimit-name a/b", ""},
		{"--hashlimit-upto 1/s --hashlimit 1/s --hashlimit-name l", ""},
		{"--hashlimit-upto 1/s", ""},
		{"--hashlimit-name l", ""},
	} {
		if row.saved != "" {
			row.saved = "-m hashlimit " + row.saved
		}
		rows = append(rows, spelling{"-m hashlimit " + row.written, row.saved})
	}
	checkSpellings(t, rows)
}

// As iptables 1.8.9 answered each of them, but that it does not take its own --rateest-gt twice.
func TestRateEstSpellings(t *testing.T) {
	t.Parallel()
	checkSpellings(t, []spelling{
		{"-m rateest --rateest R --rateest-lt --rateest-bps 5", "-m rateest --rateest R --rateest-lt --rateest-bps 0bit"},
		{"-m rateest --rateest R --rateest-lt --rateest-bps 1.5MBps", "-m rateest --rateest R --rateest-lt --rateest-bps 12000Kbit"},
		{"-m rateest --rateest R --rateest-lt --rateest-bps 2gbit", "-m rateest --rateest R --rateest-lt --rateest-bps 2000Mbit"},
		{"-m rateest --rateest R --rateest-lt --rateest-bps 9876536bit", "-m rateest --rateest R --rateest-lt --rateest-bps 9876536bit"}, // printed as 9877Kbit, which is not the same
		{"-m rateest --rateest R ! --rateest-eq --rateest-pps 0x10", "-m rateest --rateest R ! --rateest-eq --rateest-pps 16"},
		{"-m rateest --rateest R --rateest2 S --rateest-gt --rateest-bps --rateest-pps", "-m rateest --rateest1 R --rateest-gt --rateest-bps --rateest-gt --rateest-pps --rateest2 S"},
		{"-m rateest --rateest1 R --rateest-gt --rateest-bps --rateest-gt --rateest-pps --rateest2 S", "-m rateest --rateest1 R --rateest-gt --rateest-bps --rateest-gt --rateest-pps --rateest2 S"},
		{"-m rateest --rateest-delta --rateest R --rateest-pps1 8 --rateest-bps1 8bit --rateest-lt --rateest-pps2 9 --rateest-bps2 16bit", "-m rateest --rateest-delta --rateest R --rateest-bps1 8bit --rateest-lt --rateest-bps2 16bit --rateest-pps1 8 --rateest-lt --rateest-pps2 9"},
		{"-m rateest --rateest R --rateest-lt --rateest-gt --rateest-bps 8bit", "-m rateest --rateest R --rateest-gt --rateest-bps 8bit"},
		{"-m rateest --rateest R --rateest-lt --rateest-bps", "-m rateest --rateest R --rateest-lt --rateest-bps 0bit"},
		{"-m rateest --rateest R --rateest-lt --rateest-bps 8furlong", ""},
		{"-m rateest --rateest R --rateest-lt", ""},
		{"-m rateest --rateest R --rateest-bps 5", ""},
		{"-m rateest --rateest-lt --rateest-bps 5", ""},
		{"-m rateest --rateest R --rateest S --rateest-lt --rateest-bps 5", ""},
		{"-m rateest ! --rateest R --rateest-lt --rateest-bps 5", ""},
		{"-j RATEEST --rateest-name R --rateest-interval 1s --rateest-ewmalog 3s", "-j RATEEST --rateest-name R --rateest-interval 1.0s --rateest-ewmalog 2.0s"},
		{"-j RATEEST --rateest-name R --rateest-interval 8s --rateest-ewmalog 100000s", ""},
		{"-j RATEEST --rateest-name R --rateest-interval 8s --rateest-ewmalog 1500s", "-j RATEEST --rateest-name R --rateest-interval 8.0s --rateest-ewmalog 1024.0s"},
		{"-j RATEEST --rateest-name R --rateest-interval 500 --rateest-ewmalog 1.5MSECS", "-j RATEEST --rateest-name R --rateest-interval 250.0ms --rateest-ewmalog 500.0ms"},
		{"-j RATEEST --rateest-name R --rateest-interval 300ms --rateest-ewmalog 64s", "-j RATEEST --rateest-name R --rateest-interval 500.0ms --rateest-ewmalog 64.0s"},
		{"-j RATEEST --rateest-name R --rateest-interval 9s --rateest-ewmalog 100s", ""},
		{"-j RATEEST --rateest-name R --rateest-interval 0.5s --rateest-ewmalog 0.1s", ""},
		{"-j RATEEST --rateest-name R --rateest-interval 1s", ""},
	})
}

// As iptables 1.8.9 answered each of them.
func TestTimeSpellings(t *testing.T) {
	t.Parallel()
	const always = " --datestop 2038-01-19T03:14:07"
	checkSpellings(t, []spelling{
		{"-m time", "-m time" + always},
		{"-m time --timestart 23:00 --timestop 01:00 --contiguous", "-m time --timestart 23:00:00 --timestop 01:00:00" + always + " --contiguous"},
		{"-m time --timestart 01:00 --timestop 23:00 --contiguous", ""},
		{"-m time --weekdays Mo,Tuesday,3,9", "-m time --weekdays Mon,Tue,Wed" + always},
		{"-m time ! --weekdays Sat,Sun", "-m time --weekdays Mon,Tue,Wed,Thu,Fri" + always},
		{"-m time --weekdays 0", ""},
		{"-m time --weekdays mon", ""},
		{"-m time --monthdays 1,,31,123,", "-m time --monthdays 1,12,31" + always},
		{"-m time ! --monthdays 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29", "-m time --monthdays 30,31" + always},
		{"-m time --monthdays 32", ""},
		{"-m time --datestart 2020", "-m time --datestart 2020-01-01T00:00:00" + always},
		{"-m time --datestart 2020-02-30T1", "-m time --datestart 2020-03-01T01:00:00" + always},
		{"-m time --datestart 2020-02-03T04:05:06 --datestop 2038-12-31", "-m time --datestart 2020-02-03T04:05:06 --datestop 2038-12-31T00:00:00"},
		{"-m time --datestart 1969", ""},
		{"-m time --datestart 2020-1-1T24", ""},
		{"-m time --datestart 2020-1-1T23:1:1:1", ""},
		{"-m time --timestart 5:6:7", "-m time --timestart 05:06:07 --timestop 23:59:59" + always},
		{"-m time --timestart 24:00", ""},
		{"-m time --timestart 5", ""},
		{"-m time --localtz --kerneltz", "-m time" + always + " --kerneltz"},
		{"-m time --utc --kerneltz", ""},
		{"-m quota --quota 0x10", "-m quota --quota 16"},
		{"-m quota --quota 5 --quota 6", ""},
		{"-m quota", ""},
		{"-j IDLETIMER --timeout 42", ""},
		{"-j IDLETIMER --timeout 0 --label foo", ""},
		{"-j CONNSECMARK --save --restore", ""},
		{"-j CONNSECMARK", ""},
		{"-j SECMARK", ""},
		{"-j HMARK --hmark-tuple s,dst,sp,dp,proto --hmark-mod 10 --hmark-rnd 0xfe", "-j HMARK --hmark-src-prefix 32 --hmark-dst-prefix 32 --hmark-sport-mask 0xffff --hmark-dport-mask 0xffff --hmark-proto-mask 0xffff --hmark-rnd 0x000000fe --hmark-mod 10"},
		{"-j HMARK --hmark-tuple ct --hmark-mod 10", ""},
		{"-j HMARK --hmark-mod 10 --hmark-rnd 1", ""},
		{"-j HMARK --hmark-tuple ct --hmark-mod 0 --hmark-rnd 1", ""},
		{"-j HMARK --hmark-tuple spi,sport --hmark-mod 1 --hmark-rnd 1", ""},
	})
}
