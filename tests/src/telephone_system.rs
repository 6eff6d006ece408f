//! kamailio as a telephone system of its own, or as a provider: whoever belongs to it registers
//! there with a password, calls the others, and calls the network behind it.

use std::net::SocketAddr;

use crate::kamailio::preamble;

/// What it is told.
pub struct TelephoneSystem<'a> {
    /// Where it listens, over UDP.
    pub address: SocketAddr,
    /// Calls from here are the network's, and calls to anybody else than an extension go there.
    pub network: SocketAddr,
    /// The user that the network's calls ring.
    pub rings: &'a str,
    /// The longest registration that it grants, seconds.
    pub longest: u32,
}

impl TelephoneSystem<'_> {
    /// Its configuration. Passwords are those of [`crate::cheling::secret`]; extensions are numbers
    /// of four digits that begin with 8. It logs `registered USER`, `challenged METHOD USER`,
    /// `in to USER` and `out to NUMBER`, and tells the network who rings and answers.
    pub fn config(&self) -> String {
        let Self { network, rings, longest, address } = self;
        let listen = [format!("udp:{address}")];
        format!(
            "{}loadmodule \"usrloc.so\"\nloadmodule \"registrar.so\"\nloadmodule \"auth.so\"\n\
             modparam(\"registrar\", \"min_expires\", 1)\n\
             modparam(\"registrar\", \"max_expires\", {longest})\n\
             modparam(\"registrar\", \"default_expires\", {longest})\n\
             request_route {{\n\
             if (!mf_process_maxfwd_header(\"10\")) {{ sl_send_reply(\"483\", \"Too Many Hops\"); exit; }}\n\
             if (is_method(\"OPTIONS\")) {{ sl_send_reply(\"200\", \"OK\"); exit; }}\n\
             if (has_totag()) {{\n\
               if (loose_route()) {{ t_relay(); exit; }}\n\
               if (is_method(\"ACK\")) {{ if (t_check_trans()) t_relay(); exit; }}\n\
               sl_send_reply(\"404\", \"Not here\"); exit;\n\
             }}\n\
             if (is_method(\"CANCEL\")) {{ if (t_check_trans()) t_relay(); exit; }}\n\
             t_check_trans();\n\
             if ($si == \"{ip}\" && $sp == {port}) {{\n\
               record_route();\n\
               $rU = \"{rings}\";\n\
               if (!lookup(\"location\")) {{ sl_send_reply(\"480\", \"Nobody there\"); exit; }}\n\
               xlog(\"L_ALERT\", \"in to {rings}\\n\");\n\
               t_on_reply(\"WHO\"); t_relay(); exit;\n\
             }}\n\
             $var(password) = $fU + \"-keeps-a-secret\";\n\
             if (is_method(\"REGISTER\")) {{\n\
               if (!pv_www_authenticate(\"house\", \"$var(password)\", \"0\")) {{\n\
                 xlog(\"L_ALERT\", \"challenged $rm $fU\\n\"); www_challenge(\"house\", \"1\"); exit;\n\
               }}\n\
               if ($tU != $au) {{ sl_send_reply(\"403\", \"Not yours\"); exit; }}\n\
               save(\"location\"); xlog(\"L_ALERT\", \"registered $au\\n\"); exit;\n\
             }}\n\
             if (!pv_proxy_authenticate(\"house\", \"$var(password)\", \"0\")) {{\n\
               xlog(\"L_ALERT\", \"challenged $rm $fU\\n\"); proxy_challenge(\"house\", \"1\"); exit;\n\
             }}\n\
             consume_credentials();\n\
             record_route();\n\
             if ($rU =~ \"^8[0-9][0-9][0-9]$\") {{\n\
               $var(called) = $rU;\n\
               if (!lookup(\"location\")) {{ sl_send_reply(\"480\", \"Nobody there\"); exit; }}\n\
               xlog(\"L_ALERT\", \"in to $var(called)\\n\");\n\
             }} else {{\n\
               xlog(\"L_ALERT\", \"out to $rU\\n\");\n\
               $du = \"sip:{network}\";\n\
             }}\n\
             t_relay();\n\
             }}\n\
             onreply_route[WHO] {{\n\
             if (status =~ \"(18[03])|(2[0-9][0-9])\") append_hf(\"P-Asserted-Identity: <sip:{rings}@{ip}>\\r\\n\");\n\
             }}\n",
            preamble(&listen),
            ip = network.ip(),
            port = network.port(),
        )
    }
}
