//! Customers' telephone numbers.

use crate::database::On;
use crate::row::{Read as _, row};
use crate::value::args;
use crate::{Result, insert};
use cheling_model::number::NumberKind;
use cheling_model::{CustomerId, DealershipId, Timestamp};
use uuid::Uuid;

row! {
    /// One number of a customer. Several customers may share its key.
    Phone in "customer_phone" {
        phone_id: Uuid = "phone_id",
        dealership_id: DealershipId = "dealership_id",
        customer_id: CustomerId = "customer_id",
        /// As written.
        number: String = "number",
        /// `+8613812345678`.
        number_key: String = "number_key",
        number_kind: NumberKind = "number_kind",
        /// `本人`, `配偶`, `送修人`, `司机`, `公司` or empty.
        label: String = "label",
        is_primary: bool = "is_primary",
        /// `ok`, `wrong`, `empty`, `stopped` or `refused`.
        status: String = "status",
        created_at: Timestamp = "created_at_us",
    }
}

/// A customer's numbers, the primary one first.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn of_customer(on: impl Into<On<'_>>, customer_id: CustomerId) -> Result<Vec<Phone>> {
    let sql = format!(
        "select {} from customer_phone where customer_id = $1 order by is_primary desc, phone_id",
        Phone::columns()
    );
    on.into().list(sql, args![customer_id]).await
}

/// Adds a number, and gives the customer the past calls of it that nobody had. A number that the
/// customer already has changes its writing and label only. Answers how many calls were adopted.
///
/// # Errors
/// [`crate::Error::Refused`] if there is no such customer.
pub async fn add(on: impl Into<On<'_>>, phone: &Phone) -> Result<u64> {
    let mut on = on.into();
    if phone.is_primary {
        let sql = "update customer_phone set is_primary = $2 \
                   where customer_id = $1 and number_key <> $3 and is_primary";
        on.execute(sql, args![phone.customer_id, false, &phone.number_key]).await?;
    }
    let sql = "update customer_phone set number = $3, label = $4, is_primary = $5, status = $6 \
               where customer_id = $1 and number_key = $2";
    let p = phone;
    let args = args![p.customer_id, &p.number_key, &p.number, &p.label, p.is_primary, &p.status];
    if on.execute(sql, args).await? == 0 {
        insert(&mut on, phone).await?;
    }
    let sql = "update call set customer_id = $3, match_method = 'adopted' \
               where dealership_id = $1 and customer_key = $2 and customer_id is null";
    on.execute(sql, args![p.dealership_id, &p.number_key, p.customer_id]).await
}

/// Takes a number away from a customer; its calls stay.
///
/// # Errors
/// [`crate::Error::NotFound`].
pub async fn remove(
    on: impl Into<On<'_>>,
    dealership_id: DealershipId,
    customer_id: CustomerId,
    number_key: &str,
) -> Result<()> {
    let sql = "delete from customer_phone \
               where dealership_id = $1 and customer_id = $2 and number_key = $3";
    on.into().change(sql, args![dealership_id, customer_id, number_key]).await
}
