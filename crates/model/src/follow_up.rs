//! The words of follow-up work (回访): types, states, results.

use serde::{Deserialize, Serialize};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $word)] $variant),+ }
        impl $name {
            /// All, in the order shown.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// The word used in JSON and SQL.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
            /// The variant of a word, if it is one.
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}
pub(crate) use words;

words! {
    /// What a follow-up is for.
    FollowUpType {
        /// 交车3DC.
        Delivery3dc = "delivery_3dc",
        /// 首保7DC.
        FirstMaintenance7dc = "first_maintenance_7dc",
        /// 维修3DC.
        Service3dc = "service_3dc",
        /// 销售满意度.
        SalesCsat = "sales_csat",
        /// 服务满意度.
        ServiceCsat = "service_csat",
        /// 每季销售跟踪.
        QuarterlyContact = "quarterly_contact",
        /// 保养提醒.
        MaintenanceReminder = "maintenance_reminder",
        /// 续保提醒.
        InsuranceRenewal = "insurance_renewal",
        /// 抱怨处理.
        ComplaintHandling = "complaint_handling",
        /// 试驾回访.
        TestDrive = "test_drive",
        /// 来电记录: made for an inbound call.
        InboundContact = "inbound_contact",
        /// 其他.
        Other = "other",
    }
}

words! {
    /// Where a follow-up stands.
    FollowUpState {
        /// Not begun.
        Open = "open",
        /// Attempted, not finished.
        InProgress = "in_progress",
        /// Finished.
        Done = "done",
        /// Given up after repeated attempts.
        Unreachable = "unreachable",
        /// The customer refused.
        Refused = "refused",
        /// No longer needed.
        Cancelled = "cancelled",
    }
}

words! {
    /// What one attempt came to (the wrap-up result).
    Outcome {
        /// 接通并完成.
        Completed = "completed",
        /// 接通, 未完成.
        Partial = "partial",
        /// 预约回拨.
        CallBack = "call_back",
        /// 无人接听.
        NoAnswer = "no_answer",
        /// 忙线.
        Busy = "busy",
        /// 关机或停机.
        SwitchedOff = "switched_off",
        /// 空号.
        EmptyNumber = "empty_number",
        /// 错号.
        WrongNumber = "wrong_number",
        /// 拒访.
        Refused = "refused",
        /// 他人接听.
        ThirdParty = "third_party",
    }
}

words! {
    /// What a user is.
    Role {
        /// Everything, all settings.
        Admin = "admin",
        /// 客服主管: sees the team's work, listens.
        Supervisor = "supervisor",
        /// 客服 / SA / CA: the desk.
        Agent = "agent",
        /// 质检: replays and scores.
        Qa = "qa",
    }
}

impl Role {
    /// Whether who has it oversees the calls of others: hears them, and is told of alarms in them.
    pub const fn oversees(self) -> bool {
        matches!(self, Self::Admin | Self::Supervisor)
    }
}

words! {
    /// What a customer is to the dealership.
    Lifecycle {
        /// 现有客户.
        Existing = "existing",
        /// 潜在客户.
        Prospect = "prospect",
    }
}

words! {
    /// How a recording found its follow-up.
    AttachMethod {
        /// The call was dialled from the task.
        ClickToDial = "click_to_dial",
        /// Exactly one open task of that agent fitted.
        Inferred = "inferred",
        /// The contact record made for an inbound call.
        InboundContact = "inbound_contact",
        /// A person chose it.
        Manual = "manual",
    }
}
