// Sends what a container must not be able to send, and tells what arrives. A tool of the attack tests on networks.
//
//   forge listen                       prints each frame that comes in on eth0, ends with one that says END
//   forge end DST                      sends END to DST, honestly
//   forge source SRC DST               an IP packet under another's address
//   forge hardware DST                 an IP packet under another's hardware address
//   forge arp CLAIMED                  ARP: CLAIMED is at this hardware address
//   forge router                       ICMPv6: this is a router
//   forge neighbour CLAIMED            ICMPv6: CLAIMED is at this hardware address
//   forge echo PORT                    sends back what comes by UDP
//   forge type                         a frame of a type nobody needs
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/if_ether.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>
#include <netpacket/packet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int packet_socket;
static int link_index;
static unsigned char own_mac[6];
static unsigned char frame[1500];

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void open_link(void) {
    struct ifreq request = {0};
    packet_socket = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
    if (packet_socket < 0) fail("socket");
    strcpy(request.ifr_name, "eth0");
    if (ioctl(packet_socket, SIOCGIFINDEX, &request) < 0) fail("index");
    link_index = request.ifr_ifindex;
    if (ioctl(packet_socket, SIOCGIFHWADDR, &request) < 0) fail("mac");
    memcpy(own_mac, request.ifr_hwaddr.sa_data, 6);
    struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = link_index};
    if (bind(packet_socket, (void *)&address, sizeof address) < 0) fail("bind");
}

static uint16_t checksum(const void *data, size_t length, uint32_t sum) {
    const unsigned char *bytes = data;
    for (; length > 1; length -= 2, bytes += 2) sum += bytes[0] << 8 | bytes[1];
    if (length) sum += bytes[0] << 8;
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    return htons(~sum);
}

static void send_frame(const unsigned char *to, const unsigned char *from, uint16_t type, size_t length) {
    struct ether_header *header = (void *)frame;
    memcpy(header->ether_dhost, to, 6);
    memcpy(header->ether_shost, from, 6);
    header->ether_type = htons(type);
    struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_ifindex = link_index, .sll_halen = 6};
    memcpy(address.sll_addr, to, 6);
    if (sendto(packet_socket, frame, 14 + length, 0, (void *)&address, sizeof address) < 0) fail("send");
}

static const unsigned char everybody[6] = {255, 255, 255, 255, 255, 255};

static void send_ip(const char *source, const char *target, const unsigned char *mac) {
    struct iphdr *ip = (void *)(frame + 14);
    struct udphdr *udp = (void *)(ip + 1);
    memset(ip, 0, 40);
    strcpy((char *)(udp + 1), "FORGED");
    ip->version = 4, ip->ihl = 5, ip->ttl = 64, ip->protocol = IPPROTO_UDP;
    ip->tot_len = htons(20 + 8 + 6);
    inet_pton(AF_INET, source, &ip->saddr);
    inet_pton(AF_INET, target, &ip->daddr);
    ip->check = checksum(ip, 20, 0);
    udp->source = udp->dest = htons(9999);
    udp->len = htons(8 + 6);
    send_frame(everybody, mac, ETH_P_IP, 34);
}

static void own_address(char *text) {
    struct ifreq request = {0};
    int s = socket(AF_INET, SOCK_DGRAM, 0);
    strcpy(request.ifr_name, "eth0");
    if (ioctl(s, SIOCGIFADDR, &request) < 0) fail("address");
    inet_ntop(AF_INET, &((struct sockaddr_in *)&request.ifr_addr)->sin_addr, text, 64);
}

static void send_icmp6(const void *body, size_t length) {
    static const unsigned char all_nodes[6] = {0x33, 0x33, 0, 0, 0, 1};
    struct ip6_hdr *ip = (void *)(frame + 14);
    memset(ip, 0, sizeof *ip);
    ip->ip6_flow = htonl(6 << 28);
    ip->ip6_plen = htons(length);
    ip->ip6_nxt = IPPROTO_ICMPV6;
    ip->ip6_hlim = 255;
    unsigned char *source = ip->ip6_src.s6_addr;
    source[0] = 0xfe, source[1] = 0x80, source[8] = own_mac[0] ^ 2, source[9] = own_mac[1], source[10] = own_mac[2];
    source[11] = 0xff, source[12] = 0xfe, source[13] = own_mac[3], source[14] = own_mac[4], source[15] = own_mac[5];
    inet_pton(AF_INET6, "ff02::1", &ip->ip6_dst);
    memcpy(ip + 1, body, length);
    uint32_t sum = IPPROTO_ICMPV6 + length;
    const unsigned char *addresses = ip->ip6_src.s6_addr;
    for (int i = 0; i < 32; i += 2) sum += addresses[i] << 8 | addresses[i + 1];
    struct icmp6_hdr *icmp = (void *)(ip + 1);
    icmp->icmp6_cksum = checksum(icmp, length, sum);
    send_frame(all_nodes, own_mac, ETH_P_IPV6, 40 + length);
}

static void claim_router(void) {
    struct {
        struct nd_router_advert advert;
        struct nd_opt_prefix_info prefix;
    } body = {0};
    body.advert.nd_ra_type = ND_ROUTER_ADVERT;
    body.advert.nd_ra_router_lifetime = htons(1800);
    body.prefix.nd_opt_pi_type = ND_OPT_PREFIX_INFORMATION;
    body.prefix.nd_opt_pi_len = 4;
    body.prefix.nd_opt_pi_prefix_len = 64;
    body.prefix.nd_opt_pi_flags_reserved = 0xc0;
    body.prefix.nd_opt_pi_valid_time = body.prefix.nd_opt_pi_preferred_time = htonl(3600);
    inet_pton(AF_INET6, "2001:db8:bad::", &body.prefix.nd_opt_pi_prefix);
    send_icmp6(&body, sizeof body);
}

static void claim_neighbour(const char *claimed) {
    struct {
        struct nd_neighbor_advert advert;
        struct nd_opt_hdr option;
        unsigned char mac[6];
    } body = {0};
    body.advert.nd_na_type = ND_NEIGHBOR_ADVERT;
    body.advert.nd_na_flags_reserved = ND_NA_FLAG_OVERRIDE;
    inet_pton(AF_INET6, claimed, &body.advert.nd_na_target);
    body.option.nd_opt_type = ND_OPT_TARGET_LINKADDR;
    body.option.nd_opt_len = 1;
    memcpy(body.mac, own_mac, 6);
    send_icmp6(&body, sizeof body);
}

static void claim_arp(const char *claimed) {
    struct ether_arp *arp = (void *)(frame + 14);
    memset(arp, 0, sizeof *arp);
    arp->arp_hrd = htons(ARPHRD_ETHER), arp->arp_pro = htons(ETH_P_IP), arp->arp_hln = 6, arp->arp_pln = 4;
    arp->arp_op = htons(ARPOP_REPLY);
    memcpy(arp->arp_sha, own_mac, 6);
    inet_pton(AF_INET, claimed, arp->arp_spa);
    memcpy(arp->arp_tha, everybody, 6);
    inet_pton(AF_INET, claimed, arp->arp_tpa);
    send_frame(everybody, own_mac, ETH_P_ARP, sizeof *arp);
}

static void say_end(const char *target) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(9999)};
    inet_pton(AF_INET, target, &address.sin_addr);
    int s = socket(AF_INET, SOCK_DGRAM, 0);
    if (sendto(s, "END", 3, 0, (void *)&address, sizeof address) < 0) fail("end");
}

static void listen_until_end(void) {
    char text[64];
    puts("listening");
    fflush(stdout);
    for (;;) {
        struct sockaddr_ll from;
        socklen_t size = sizeof from;
        ssize_t length = recvfrom(packet_socket, frame, sizeof frame, 0, (void *)&from, &size);
        if (length < 14) fail("receive");
        if (from.sll_pkttype == PACKET_OUTGOING) continue;
        struct ether_header *header = (void *)frame;
        uint16_t type = ntohs(header->ether_type);
        struct iphdr *ip = (void *)(frame + 14);
        struct ip6_hdr *ip6 = (void *)(frame + 14);
        if (type == ETH_P_IP) {
            inet_ntop(AF_INET, &ip->saddr, text, sizeof text);
            int end = length >= 45 && !memcmp(frame + 42, "END", 3);
            printf("ip %s %02x%s\n", text, header->ether_shost[5], end ? " END" : "");
            if (end) return;
        } else if (type == ETH_P_ARP) {
            struct ether_arp *arp = (void *)(frame + 14);
            inet_ntop(AF_INET, arp->arp_spa, text, sizeof text);
            printf("arp %s %s\n", ntohs(arp->arp_op) == ARPOP_REPLY ? "reply" : "request", text);
        } else if (type == ETH_P_IPV6) {
            printf("ip6 next %d type %d\n", ip6->ip6_nxt, ((unsigned char *)(ip6 + 1))[0]);
        } else {
            printf("type %04x\n", type);
        }
        fflush(stdout);
    }
}

static void echo_for_ever(int port) {
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    int s = socket(AF_INET6, SOCK_DGRAM, 0);
    if (bind(s, (void *)&address, sizeof address) < 0) fail("bind");
    for (;;) {
        socklen_t size = sizeof address;
        ssize_t length = recvfrom(s, frame, sizeof frame, 0, (void *)&address, &size);
        if (length > 0) sendto(s, frame, length, 0, (void *)&address, size);
    }
}

int main(int count, char **words) {
    const char *what = count > 1 ? words[1] : "";
    char own[64];
    if (!strcmp(what, "end")) return say_end(words[2]), 0;
    if (!strcmp(what, "echo")) echo_for_ever(atoi(words[2]));
    open_link();
    if (!strcmp(what, "listen")) listen_until_end();
    else if (!strcmp(what, "source")) send_ip(words[2], words[3], own_mac);
    else if (!strcmp(what, "hardware")) {
        unsigned char other[6] = {2, 0, 0, 0, 0, 0x66};
        own_address(own);
        send_ip(own, words[2], other);
    } else if (!strcmp(what, "arp")) claim_arp(words[2]);
    else if (!strcmp(what, "router")) claim_router();
    else if (!strcmp(what, "neighbour")) claim_neighbour(words[2]);
    else if (!strcmp(what, "type")) send_frame(everybody, own_mac, 0x88cc, 40);
    else return 2;
    return 0;
}
