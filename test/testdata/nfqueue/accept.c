/* A loop that takes whole packets from an NFQUEUE and accepts each: what the gateway's figures are held against. It does not translate.
 *
 *	cc -O2 -o accept accept.c -lnetfilter_queue && ./accept NUMBER
 */
#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <libnetfilter_queue/libnetfilter_queue.h>

static int accept_one(struct nfq_q_handle *queue, struct nfgenmsg *message, struct nfq_data *data, void *unused)
{
	struct nfqnl_msg_packet_hdr *header = nfq_get_msg_packet_hdr(data);

	(void)message;
	(void)unused;
	return nfq_set_verdict(queue, header ? ntohl(header->packet_id) : 0, NF_ACCEPT, 0, NULL);
}

int main(int count, char **words)
{
	static char buffer[1 << 17];
	struct nfq_handle *handle = nfq_open();
	struct nfq_q_handle *queue;
	int fd, room = 64 << 20, on = 1, n;

	if (count != 2 || !handle)
		return 2;
	queue = nfq_create_queue(handle, (uint16_t)atoi(words[1]), accept_one, NULL);
	if (!queue || nfq_set_mode(queue, NFQNL_COPY_PACKET, 0xffff) < 0)
		return 3;
	nfq_set_queue_maxlen(queue, 1 << 16);
	nfq_set_queue_flags(queue, NFQA_CFG_F_GSO, NFQA_CFG_F_GSO);
	fd = nfq_fd(handle);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	setsockopt(fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, &on, sizeof(on));
	puts("ready");
	fflush(stdout);
	while ((n = (int)recv(fd, buffer, sizeof(buffer), 0)) > 0)
		nfq_handle_packet(handle, buffer, n);
	return 1;
}
