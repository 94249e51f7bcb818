package nat

// service is a port with a name in /etc/services, and the protocols that have it there.
type service struct {
	port      uint16
	protocols string // "t" for TCP, "u" for UDP
}

// services are names that iptables and nft take for ports. iptables prints them without -n, and an nft up to 0.9.0 does.
var services = map[string]service{
	"tcpmux": {1, "t"}, "echo": {7, "tu"}, "discard": {9, "tu"}, "systat": {11, "t"}, "daytime": {13, "tu"}, "netstat": {15, "t"},
	"qotd": {17, "t"}, "chargen": {19, "tu"}, "ftp-data": {20, "t"}, "ftp": {21, "t"}, "ssh": {22, "t"}, "telnet": {23, "t"},
	"smtp": {25, "t"}, "mail": {25, "t"}, "time": {37, "tu"}, "whois": {43, "t"}, "nicname": {43, "t"}, "tacacs": {49, "tu"},
	"domain": {53, "tu"}, "bootps": {67, "u"}, "bootpc": {68, "u"}, "tftp": {69, "u"}, "gopher": {70, "t"}, "finger": {79, "t"},
	"http": {80, "t"}, "www": {80, "t"}, "kerberos": {88, "tu"}, "kerberos5": {88, "tu"}, "krb5": {88, "tu"}, "pop3": {110, "t"},
	"pop-3": {110, "t"}, "sunrpc": {111, "tu"}, "portmapper": {111, "tu"}, "auth": {113, "t"}, "ident": {113, "t"}, "nntp": {119, "t"},
	"ntp": {123, "u"}, "epmap": {135, "t"}, "loc-srv": {135, "t"}, "netbios-ns": {137, "u"}, "netbios-dgm": {138, "u"},
	"netbios-ssn": {139, "t"}, "imap": {143, "t"}, "imap2": {143, "t"}, "snmp": {161, "tu"}, "snmp-trap": {162, "tu"},
	"snmptrap": {162, "tu"}, "xdmcp": {177, "u"}, "bgp": {179, "t"}, "irc": {194, "t"}, "ipx": {213, "u"}, "ldap": {389, "tu"},
	"svrloc": {427, "tu"}, "https": {443, "tu"}, "microsoft-ds": {445, "t"}, "kpasswd": {464, "tu"}, "submissions": {465, "t"},
	"ssmtp": {465, "t"}, "smtps": {465, "t"}, "urd": {465, "t"}, "isakmp": {500, "u"}, "exec": {512, "t"}, "biff": {512, "u"},
	"login": {513, "t"}, "who": {513, "u"}, "shell": {514, "t"}, "cmd": {514, "t"}, "syslog": {514, "u"}, "printer": {515, "t"},
	"spooler": {515, "t"}, "talk": {517, "u"}, "ntalk": {518, "u"}, "route": {520, "u"}, "router": {520, "u"}, "uucp": {540, "t"},
	"klogin": {543, "t"}, "kshell": {544, "t"}, "dhcpv6-client": {546, "u"}, "dhcpv6-server": {547, "u"}, "rtsp": {554, "tu"},
	"nntps": {563, "t"}, "snntp": {563, "t"}, "submission": {587, "t"}, "asf-rmcp": {623, "u"}, "ipp": {631, "t"}, "ldaps": {636, "tu"},
	"ldp": {646, "tu"}, "tinc": {655, "tu"}, "kerberos-adm": {749, "t"}, "spamd": {783, "t"}, "domain-s": {853, "tu"}, "rsync": {873, "t"},
	"ftps-data": {989, "t"}, "ftps": {990, "t"}, "telnets": {992, "t"}, "imaps": {993, "t"}, "pop3s": {995, "t"}, "socks": {1080, "t"},
	"rmiregistry": {1099, "t"}, "openvpn": {1194, "tu"}, "ms-sql-s": {1433, "t"}, "ms-sql-m": {1434, "u"}, "l2f": {1701, "u"},
	"l2tp": {1701, "u"}, "radius": {1812, "tu"}, "radius-acct": {1813, "tu"}, "radacct": {1813, "tu"}, "nfs": {2049, "tu"},
	"cvspserver": {2401, "t"}, "isns": {3205, "tu"}, "iscsi-target": {3260, "t"}, "mysql": {3306, "t"}, "ms-wbt-server": {3389, "t"},
	"nut": {3493, "tu"}, "distcc": {3632, "t"}, "svn": {3690, "t"}, "subversion": {3690, "t"}, "sieve": {4190, "t"}, "epmd": {4369, "t"},
	"ipsec-nat-t": {4500, "u"}, "iax": {4569, "u"}, "munin": {4949, "t"}, "sip": {5060, "tu"}, "sip-tls": {5061, "tu"},
	"xmpp-client": {5222, "t"}, "jabber-client": {5222, "t"}, "xmpp-server": {5269, "t"}, "jabber-server": {5269, "t"}, "mdns": {5353, "u"},
	"postgresql": {5432, "t"}, "postgres": {5432, "t"}, "nrpe": {5666, "t"}, "amqps": {5671, "t"}, "amqp": {5672, "t"}, "x11": {6000, "t"},
	"redis": {6379, "t"}, "syslog-tls": {6514, "t"}, "ircd": {6667, "t"}, "ircs-u": {6697, "t"}, "http-alt": {8080, "t"}, "webcache": {8080, "t"},
	"puppet": {8140, "t"}, "bacula-dir": {9101, "t"}, "bacula-fd": {9102, "t"}, "bacula-sd": {9103, "t"}, "git": {9418, "t"},
	"webmin": {10000, "t"}, "zabbix-agent": {10050, "t"}, "zabbix-trapper": {10051, "t"}, "amanda": {10080, "t"}, "nbd": {10809, "t"},
	"hkp": {11371, "t"},
}

// ServicePort is the port of a name of /etc/services, such as domain, as a protocol has it; 0 stands for any protocol. Of SCTP, DCCP and UDP-Lite
// every name is taken: what /etc/services has of them differs from one distribution to another.
func ServicePort(name string, p Proto) (uint16, bool) {
	s, known := services[name]
	switch has := map[Proto]string{TCP: "t", UDP: "u"}[p]; {
	case !known:
		return 0, false
	case has == "" || s.protocols == "tu" || s.protocols == has:
		return s.port, true
	}
	return 0, false
}
