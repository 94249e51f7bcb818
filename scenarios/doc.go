// Package scenarios holds the known bugs of the Service data path as scripts, and runs them. A scenario is a txtar file:
// a page (title, issue, what, why, tell-tale, fix), a script, and the files that the script names. It is run twice,
// as [buggy] and as [fixed], each in a lab of its own; both have to end as the script expects. What differs between the two
// is the remedy and the expectations, and nothing else.
//
//	# title: The masquerade mark is never set
//	# issue: kubernetes/kubernetes#32415
//	# what: A client outside asks a node port and hears nothing.
//	# tell-tale: The entry in n1 ends at the client's own address.
//	# fix: Put the rule back.
//	lab
//	iptables n1 -t nat -F KUBE-MARK-MASQ
//	[fixed] sync node=n1
//	[buggy] ask cl tcp 192.168.0.1:30080 end=lost
//	[buggy] conntrack n1 dst=192.168.0.1:30080 reply-dst=192.168.0.100
//	[fixed] ask cl tcp 192.168.0.1:30080 seen=192.168.0.1
//
// A page with "# kube-proxy: v1.32.0 to v1.32.2" is of a bug of those releases, and one with "# kube-proxy: every release" of what every kube-proxy does: they are
// run with a real kube-proxy in each node, on an affected release as [buggy], on a later one as [fixed].
//
// # Verbs
//
// The script language is that of the Go command's own tests (rogpeppe/go-internal/testscript): a verb a line, "!" in front
// of one that must fail, [condition] in front of one that is for some runs only: buggy, fixed, legacy, nft, userspace, nftables, release:v1.28,
// kernel:6.12 (that or later), feature:NAME as natlab doctor names it. stop, stdout, stderr, cmp, env and the others are
// there too. skip has to stand behind a condition that names what the machine lacks, as in [!kernel:6.12] skip 'why': a
// run that was skipped on a machine that lacks nothing has failed. On the backend userspace, where NAT is natlab's own, a script is
// skipped that has stat, counter, view or audit, which are about the kernel's, and not behind [!userspace]. On the backend nftables
// kube-proxy is in nftables mode, of the newest release where the script's has none; what ends otherwise there stands behind [nftables] and
// [!nftables], and a script whose page has "# iptables: REASON" is about iptables mode, and skipped. In IPv6
// (scenario run --family ipv6) each IPv4 address of a script and its files is one of IPv6, 10.244.1.2 being fd00:10:244:1::2; [ipv4] and [ipv6] are
// conditions, and "# ipv4: REASON" on a page is why a script is about IPv4. Ours:
//
//	lab [FILE...]                     bring the lab up: small (small.yaml) or FILE; "+FILE" changes it (JSON merge patches)
//	apply FILE [node=N]...            change objects, and give the nodes what kube-proxy then writes: since 1.27 the chains of
//	                                  what changed, and those that all Services share; end=told: a real kube-proxy is told, and not waited for
//	sync [node=N]...                  give the nodes all of kube-proxy's rules anew
//	iptables [legacy:|nft:]NODE ARGS  edit rules as another agent would
//	run MEMBER PROGRAM ARGS           run a program in a namespace
//	sysctl MEMBER KEY=VALUE...
//	server stop|start NAMESPACE/POD
//	listen MEMBER PROTO ADDRESS:PORT  a server of the member's own
//	ask MEMBER PROTO TARGET [...]     one exchange; sport= src= count=, and what must come of it: end= by= seen= from=
//	open NAME MEMBER PROTO TARGET     a socket that stays; then send NAME [count= size=], receive NAME [end= by= seen=], close NAME
//	load start NAME MEMBER PROTO TARGET  a steady load of new connections, or datagrams from new ports; load pass NAME N waits for N more of
//	                                  them; load stop NAME [by=A|B] [lost=0 refused=0 rejected=0 reset=0 closed=0 misdirected=0] ends it: none
//	                                  may be more than that; misdirected is what none of by= answered
//	stream MEMBER TARGET size=100M    so many bytes over one TCP connection and back again, whole by their SHA-256; by= seen= options=
//	sweep MEMBER TARGET [...]         a datagram of each size; sizes=1..2000 step=1: each is answered; df=yes: or told to be too long,
//	                                  and mtu=N is the path's MTU up to which it is answered; options=yes: with options of IPv4, extension headers of IPv6
//	pause DURATION                    for what the kernel keeps by its clock: a Service's timeoutSeconds, conntrack's timeouts; make these short
//	segment NAME MEMBER seq=N         a TCP segment from an open connection's server, N off the expected sequence number
//	conntrack NODE [...]              an entry: proto= src= dst= reply-src= reply-dst= status= not=
//	flush NODE [...]                  delete entries
//	stat NODE NAME [N]                a statistic grew: InsertFailed ClashResolve Invalid Drop ...; stat NODE reset
//	counter NODE TABLE TEXT [N]       packets at rules that contain TEXT
//	netstat MEMBER NAME [N]           a counter of /proc/net/netstat or snmp
//	watch                             open taps and trace; then
//	met NODE CHAIN[:N]                the last exchange met the rule
//	hop NODE TAP [...]                the last exchange was seen so at a tap: src= dst= mark= way=
//	way                               draw the last exchange, for cmp stdout way, way-nftables in nftables mode;
//	                                  scenario run --update rewrites that file
//	hold NAME NODE TAP [...]          keep packets at a tap; held NAME N, release NAME [order=2,1],
//	                                  drop NAME, duplicate NAME, rewrite NAME src= dst=
//	http MEMBER URL [...]             get a page inside a namespace: status= body=REGEXP
//	until MEMBER PROGRAM ARGS         run a program until it ends with status 0, at most a minute
//	proxy NODE restart [v=N] [fair=yes] [slow=REGEXP] [halt=REGEXP]  start a real kube-proxy anew, and read its log a line at a time: it halts behind
//	                                  a line that matches halt=, and behind each of slow= until another of its goroutines wants to log
//	                                  (ten seconds, and then no more). What it does at once is so put in an order: its races are decided.
//	                                  With fair=yes who waits longest to log is the next
//	proxy NODE halt REGEXP [slow=REGEXP]  other lines, from now on; proxy NODE halted waits until it has halted, and proxy NODE go has it go on,
//	                                  until it has written all that it was told; proxy NODE waits TEXT waits until a goroutine that
//	                                  has TEXT, such as a function, in its stack waits for its turn to log
//	view NODE VERSION [style=list]    the rules as a version of iptables shows them, for stdout
//	audit NODE KIND...                natlab audit's findings
//
// With a real kube-proxy "! lab" and "! apply" expect that its rules are refused: stderr has why.
//
// Whatever waits, waits for its event, and at most five seconds. An exchange that has to be lost (end=lost) is lost when
// the taps saw its packet come to rest in a kernel and for 0.4 seconds nothing after it, or else after five seconds;
// without watch, silence of 0.4 seconds has to do. What must not be there (! conntrack, ! met, ! stat and the others) is
// looked for once no packet of the script's is under way.
package scenarios
